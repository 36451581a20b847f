"""Algorithm 1: every candidate sentence of every prompt.

In: data/sample_prompts, the previous policy, scorers/search; params.yaml: generate_beams, compute.
Out: data/generate_beams/T, shards of `Sentence` rows that survive a kill.
Run: `python stages/generate_beams.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("generate_beams")
