"""Measure one policy at the base's recall, by a bias on the logit of end-of-sequence.

In: a policy, the base's answers, data/sample_prompts; params.yaml: match_recall, evaluate_policy, compute.
Out: data/match_recall/NAME; metrics/match_recall/NAME.json.
Run: `python stages/match_recall.py base`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("match_recall")
