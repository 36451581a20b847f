"""Make the preference pairs of each prompt, or record the reason for none; no model runs.

In: data/generate_beams/T, data/measure_signals/T, data/score_beams/T, the prompts; params.yaml: select_pairs.
Out: data/select_pairs/T: `Pair` and `Dropped` rows; metrics/select_pairs/T.json.
Run: `python stages/select_pairs.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("select_pairs")
