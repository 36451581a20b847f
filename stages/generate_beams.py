"""Search every candidate sentence of every prompt (Algorithm 1).

In: data/sample_prompts, the previous policy, scorers/search; params.yaml: generate_beams, compute.
Out: data/generate_beams/T: shards of `Sentence` rows; complete shards survive a kill.
Run: `python stages/generate_beams.py 1`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("generate_beams")
