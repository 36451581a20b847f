"""The microworld: images of coloured shapes whose truth is known, and small models that hallucinate about them.

Import each name from the file that defines it. The files of the first group need neither torch nor transformers.

- `world`: SHAPES, COLOURS, PLACES, THEMES, Scene, SceneObject, sample_scenes, scene_objects, stereotypes_of
- `language`: describe_prompts, questions, judge_prompt, true_caption, policy_caption
- `parsing`: Claim, read; `claim_parser`: the parser for evaluation; `truth`: ClaimCheck, judge_claim, mistake_kind
- `drawing`: draw; `images`: write_scenes, read_scenes (the splits on disk)

- `source`: the microworld as a `Source`; `prepare`: build, which makes the images and the models
- `scorer_training`, `scorer_metrics`: the CLIPs; `detector_training`: the detector
- `conversation`, `policy_training`, `policy_metrics`, `vision_tower`: the LLaVA
- `folders`: folders of trained models, written atomically, and kept if training would give the same model again
"""
