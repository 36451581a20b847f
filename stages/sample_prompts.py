"""Sample the training prompts and the evaluation questions.

In: data/prepare; params.yaml: sample_prompts.
Out: data/sample_prompts: prompts, questions, truth.
Run: `python stages/sample_prompts.py`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("sample_prompts")
