"""A world small enough to know the truth about: coloured shapes, themes, and models that make things up.

Import from the file that holds the thing; those of the first group need neither torch nor transformers.

- `world`: SHAPES, COLOURS, PLACES, THEMES, Scene, SceneObject, sample_scenes, scene_objects, stereotypes_of
- `language`: describe_prompts, questions, judge_prompt, true_caption, policy_caption
- `reading`: Claim, read; `truth`: ClaimCheck, judge_claim, mistake_kind
- `drawing`: draw; `images`: write_scenes, read_scenes (the splits on disk)

- `seed`: build, which makes everything the loop starts from
- `scorer_training`, `scorer_metrics`: the CLIPs
- `conversation`, `policy_training`, `policy_metrics`, `vision_tower`: the LLaVA
- `folders`: folders written whole, and kept when they are what would be written again
"""
