"""Score whole answers (equation 4).

In: data/generate_beams/T, data/measure_signals/T; params.yaml: score_beams.
Out: data/score_beams/T: `Response` rows; metrics/score_beams/T.json.
Run: `python stages/score_beams.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("score_beams")
