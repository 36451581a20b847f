"""Answer the evaluation questions greedily with one policy.

In: a policy, the base policy, data/sample_prompts; params.yaml: evaluate_policy, compute.
Out: data/evaluate_policy/NAME: `Answer` rows; metrics/evaluate_policy/NAME.json.
Run: `python stages/evaluate_policy.py base`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("evaluate_policy")
