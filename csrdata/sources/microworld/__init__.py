"""A world small enough to know the truth about: coloured shapes, themes, and models that make things up.

Import from the file that defines a name; those of the first group need neither torch nor transformers.

- `world`: SHAPES, COLOURS, PLACES, THEMES, Scene, SceneObject, sample_scenes, scene_objects, stereotypes_of
- `language`: describe_prompts, questions, judge_prompt, true_caption, policy_caption
- `parsing`: Claim, read; `claim_parser`: the parser that evaluation asks; `truth`: ClaimCheck, judge_claim, mistake_kind
- `drawing`: draw; `images`: write_scenes, read_scenes (the splits on disk)

- `source`: the microworld behind the `Source` protocol; `prepare`: build, which makes the images and the models
- `scorer_training`, `scorer_metrics`: the CLIPs
- `conversation`, `policy_training`, `policy_metrics`, `vision_tower`: the LLaVA
- `folders`: folders written whole, and kept when they are what would be written again
"""
