"""Train the next policy by DPO against the previous one (equations 1 and 5).

In: data/select_pairs/T, the previous policy; params.yaml: train_dpo, compute.
Out: policies/T (the whole chain of its adapters), data/train_dpo/T (step log), metrics/train_dpo/T.json.
Run: `python stages/train_dpo.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("train_dpo")
