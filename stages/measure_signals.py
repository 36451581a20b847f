"""Measure each candidate sentence with the scorers that the search did not use.

In: data/generate_beams/T, scorers, a policy; params.yaml: scorers, compute.
Out: data/measure_signals/T: `Signal` rows.
Run: `python stages/measure_signals.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("measure_signals")
