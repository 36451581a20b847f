"""The smallest prepared microworld, built once."""

from collections.abc import Callable
from pathlib import Path

import pytest

TINY = {
    "sizes": {"train": 3, "validation": 3, "held_out": 2, "out_of_distribution": 2},
    "seed": 0,
    "scorer_images": 40,
    "scorer_steps": 2,
    "held_out_scorer_steps": 2,
    "scorer_batch": 8,
    "scorer_learning_rate": 1e-3,
    "matrix_learning_rate": 0.02,
    "policy_images": 16,
    "policy_steps": 3,
    "policy_batch": 8,
    "policy_learning_rate": 2e-3,
    "policy_micro_batch": 4,
    "stereotype_rate": 0.6,
    "question_share": 0.3,
    "judging_share": 0.05,
    "metric_images": 4,
}


@pytest.fixture(scope="session")
def build_tiny() -> Callable[[Path], dict[str, dict[str, float]]]:
    """Prepare a tiny microworld in a folder and return its metrics."""
    from csrdata.sources.microworld.prepare import build

    return lambda folder: build(
        scenes=folder,
        scorer=folder / "scorer",
        held_out_scorer=folder / "held_out_scorer",
        detectors={},
        policy=folder / "policy",
        scene_seed=0,
        **TINY,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def tiny_seed(
    tmp_path_factory: pytest.TempPathFactory, build_tiny: Callable[[Path], dict[str, dict[str, float]]]
) -> Path:
    """The folder of a tiny prepared microworld."""
    folder = tmp_path_factory.mktemp("seed")
    metrics = build_tiny(folder)
    assert set(metrics) == {"scorer", "held_out_scorer", "policy"}
    assert all(0 <= metrics["scorer"][f"prefers_true_{kind}"] <= 100 for kind in ("shape", "colour", "place"))
    return folder
