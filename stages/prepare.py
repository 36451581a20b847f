"""Draw the images, train the base policy and the scorers.

In: params.yaml: prepare, compute.
Out: policies/base, scorers/search, scorers/held_out, data/prepare (scenes, images), metrics/prepare.json.
Run: `python stages/prepare.py`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("prepare")
