"""Prepare the microworld: images, scorers, and a policy that hallucinates.

Each model is saved in a separate folder in its standard format, so other code loads it like any other model. Every setting
is a plain argument; tests run the same code with small numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from csrdata.sources.microworld.detector_training import detector_metrics, train_detector
from csrdata.sources.microworld.images import write_scenes
from csrdata.sources.microworld.policy_metrics import policy_metrics
from csrdata.sources.microworld.policy_training import PolicyShape, train_policy
from csrdata.sources.microworld.scorer_metrics import scorer_metrics
from csrdata.sources.microworld.scorer_training import HELD_OUT_SCORER, SCORER, train_scorer
from csrdata.sources.microworld.world import sample_scenes


def build(
    *,
    scenes: Path,
    scorer: Path,
    held_out_scorer: Path | None,
    detectors: Mapping[str, tuple[Path, str]],
    policy: Path,
    sizes: Mapping[str, int],
    scene_seed: int,
    seed: int,
    scorer_images: int,
    scorer_steps: int,
    held_out_scorer_steps: int,
    scorer_batch: int,
    scorer_learning_rate: float,
    matrix_learning_rate: float,
    policy_images: int,
    policy_steps: int,
    policy_batch: int,
    policy_learning_rate: float,
    stereotype_rate: float,
    question_share: float,
    judging_share: float,
    metric_images: int,
    policy_micro_batch: int = 8,
) -> dict[str, dict[str, float]]:
    """Write images and models; return metrics by model ("scorer", "policy", "held_out_scorer", "detector_NAME").

    The same arguments on the same machine with the same number of threads give the same bytes. Models that were finished
    with the same arguments are kept. Percentages are 0..100.

    Args:
        scenes: folder for `images/` and `scenes.parquet`.
        scorer: folder of the CLIP whose vision tower is the policy's, in open_clip's format: as a rule the search's scorer.
        held_out_scorer: folder of the scorer that checks the search: it has another shape and is trained on other
            scenes. None: there is no such scorer.
        detectors: by name the folder of each detector, and the split of scenes that it is trained on.
        policy: folder of the base policy, in transformers' format.
        sizes: images to draw, by split.
        scene_seed: seed of the scenes.
        seed: seed of captions, lessons and initial weights.
        scorer_images, scorer_steps, held_out_scorer_steps, scorer_batch, scorer_learning_rate,
            matrix_learning_rate: see `train_scorer`. Images, steps, batch and learning rate are the detectors', too.
        policy_images, policy_steps, policy_batch, policy_learning_rate, stereotype_rate, question_share, judging_share,
            policy_micro_batch: see `train_policy`.
        metric_images: images of the validation split for the metrics.
    """
    write_scenes(scenes, sizes=sizes, seed=scene_seed)
    train_scorer(
        scorer,
        shape=SCORER,
        split="scorer",
        scenes=scorer_images,
        steps=scorer_steps,
        batch=scorer_batch,
        learning_rate=scorer_learning_rate,
        matrix_learning_rate=matrix_learning_rate,
        seed=seed,
    )
    train_policy(
        policy,
        scorer=scorer,
        scorer_shape=SCORER,
        shape=PolicyShape(),
        scenes=policy_images,
        steps=policy_steps,
        batch=policy_batch,
        micro_batch=policy_micro_batch,
        learning_rate=policy_learning_rate,
        matrix_learning_rate=matrix_learning_rate,
        stereotype_rate=stereotype_rate,
        question_share=question_share,
        judging_share=judging_share,
        seed=seed,
    )
    if held_out_scorer is not None:
        train_scorer(
            held_out_scorer,
            shape=HELD_OUT_SCORER,
            split="held_out_scorer",
            scenes=scorer_images,
            steps=held_out_scorer_steps,
            batch=scorer_batch,
            learning_rate=scorer_learning_rate,
            matrix_learning_rate=matrix_learning_rate,
            seed=seed,
        )
    for folder, split in detectors.values():
        train_detector(
            folder,
            split=split,
            scenes=scorer_images,
            steps=scorer_steps,
            batch=scorer_batch,
            learning_rate=scorer_learning_rate,
            seed=seed,
        )
    shown = sample_scenes(split="validation", count=metric_images, seed=seed)
    metrics = {
        "scorer": scorer_metrics(scorer, shown, seed=seed),
        "policy": policy_metrics(policy, shown, seed=seed),
    }
    if held_out_scorer is not None:
        metrics["held_out_scorer"] = scorer_metrics(held_out_scorer, shown, seed=seed)
    for name, (folder, _) in detectors.items():
        metrics[f"detector_{name}"] = detector_metrics(folder, shown, seed=seed)
    return metrics
