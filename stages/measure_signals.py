"""Measure each candidate sentence with further scorers, and with images of other prompts.

In: data/generate_beams/T, images, scorers, with a self-check the policy before T; params.yaml: scorers, compute.
Out: data/measure_signals/T: `Signal` rows.
Run: `python stages/measure_signals.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("measure_signals")
