"""The base policy and the two scorers.

In: params.yaml: build_seed, compute.
Out: policies/base, scorers/search, scorers/held_out, data/build_seed (scenes, images), metrics/build_seed.json.
Run: `python stages/build_seed.py`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("build_seed")
