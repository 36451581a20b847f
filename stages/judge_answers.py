"""Let the policy judge which of two of its own answers fits the image better (Table 3 of the paper).

In: data/generate_beams/T, data/sample_prompts, the policy that wrote them; params.yaml: compute, source,
    evaluate_policy.batch_size.
Out: data/judge_answers/T: `Verdict` rows; metrics/judge_answers/T.json.
Run: `python stages/judge_answers.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("judge_answers")
