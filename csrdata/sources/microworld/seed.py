"""Everything the microworld's loop starts from: images, two scorers, a policy that makes things up.

Each model lies in a folder of its own in its standard format, so that nothing that reads it knows it is small. Every
knob is a plain argument; a tiny seed for tests is the same code with small numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from csrdata.sources.microworld.images import write_scenes
from csrdata.sources.microworld.policy_metrics import policy_metrics
from csrdata.sources.microworld.policy_training import PolicyShape, train_policy
from csrdata.sources.microworld.scorer_metrics import scorer_metrics
from csrdata.sources.microworld.scorer_training import HELD_OUT_SCORER, SCORER, ScorerShape, train_scorer
from csrdata.sources.microworld.world import sample_scenes

POLICY_FOLDER, SCORER_FOLDER, HELD_OUT_SCORER_FOLDER = "policy", "scorer", "held_out_scorer"
DEFAULT_SIZES: Mapping[str, int] = {
    "train": 1000,
    "validation": 500,
    "held_out": 1000,
    "out_of_distribution": 500,
}


def build(
    folder: Path,
    *,
    seed: int = 0,
    threads: int = 2,
    sizes: Mapping[str, int] = DEFAULT_SIZES,
    scorer_shape: ScorerShape = SCORER,
    scorer_scenes: int = 30_000,
    scorer_steps: int = 900,
    scorer_batch: int = 256,
    scorer_learning_rate: float = 1e-3,
    held_out_scorer_shape: ScorerShape = HELD_OUT_SCORER,
    held_out_scorer_scenes: int = 20_000,
    held_out_scorer_steps: int = 600,
    policy_shape: PolicyShape = PolicyShape(),  # noqa: B008 - frozen
    policy_scenes: int = 20_000,
    policy_steps: int = 2_600,
    policy_batch: int = 64,
    policy_micro_batch: int = 32,
    policy_learning_rate: float = 2e-3,
    stereotype_rate: float = 0.6,
    question_share: float = 0.3,
    judging_share: float = 0.05,
    metric_scenes: int = 300,
) -> dict[str, dict[str, float]]:
    """Build the seed in `folder` and return its metrics by model ("scorer", "held_out_scorer", "policy"), 0..100.

    Writes `images/`, `scenes.parquet`, `scorer/`, `held_out_scorer/` and `policy/`. `sizes`: scenes per split.
    `metric_scenes`: scenes of the validation split that the metrics are taken on.
    The same arguments on the same machine give the same bytes; models already finished with them are kept.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        write_scenes(folder, sizes=sizes, seed=seed)
        scorer, held_out, policy = (
            folder / name for name in (SCORER_FOLDER, HELD_OUT_SCORER_FOLDER, POLICY_FOLDER)
        )
        train_scorer(
            scorer,
            shape=scorer_shape,
            split="scorer",
            scenes=scorer_scenes,
            steps=scorer_steps,
            batch=scorer_batch,
            learning_rate=scorer_learning_rate,
            seed=seed,
        )
        train_scorer(
            held_out,
            shape=held_out_scorer_shape,
            split="held_out_scorer",
            scenes=held_out_scorer_scenes,
            steps=held_out_scorer_steps,
            batch=scorer_batch,
            learning_rate=scorer_learning_rate,
            seed=seed,
        )
        train_policy(
            policy,
            scorer=scorer,
            scorer_shape=scorer_shape,
            shape=policy_shape,
            scenes=policy_scenes,
            steps=policy_steps,
            batch=policy_batch,
            micro_batch=policy_micro_batch,
            learning_rate=policy_learning_rate,
            stereotype_rate=stereotype_rate,
            question_share=question_share,
            judging_share=judging_share,
            seed=seed,
        )
        scenes = sample_scenes(split="validation", count=metric_scenes, seed=seed)
        return {
            "scorer": scorer_metrics(scorer, scenes, seed=seed),
            "held_out_scorer": scorer_metrics(held_out, scenes, seed=seed),
            "policy": policy_metrics(policy, scenes, seed=seed),
        }
    finally:
        torch.set_num_threads(before)
