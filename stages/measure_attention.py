"""Measure how much of its attention one policy gives to the image while it describes it.

In: a policy, its answers and the base's, data/sample_prompts; params.yaml: measure_attention, compute.
Out: data/measure_attention/NAME; metrics/measure_attention/NAME.json.
Run: `python stages/measure_attention.py base`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("measure_attention")
