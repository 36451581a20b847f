"""Compare one policy with the limits of `stop_when`: the loop may stop after it.

In: metrics of evaluate_policy, select_pairs and check_stop; params.yaml: stop_when.
Out: metrics/check_stop/NAME.json.
Run: `python stages/check_stop.py base`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("check_stop")
