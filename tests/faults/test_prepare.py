"""`prepare` and its damages: images and models are made again to the same bytes, or one line says what is in the way.

The microworld's own models at the fewest steps; only `make test-all` runs this file.
"""

from pathlib import Path

import pytest
import yaml

from csrdata.params import load_params
from csrdata.sources.microworld.folders import SETTINGS_FILE
from csrdata.storage.disk import SUMS
from tests.faults.damages import Damage, deleted, empty, flipped, foreign, read_only, truncated
from tests.faults.killing import Killer
from tests.faults.project import copy, run, snapshot
from tests.faults.test_sweep import check_nothing_is_left, check_one_line
from tests.imports import ROOT
from tests.storage.test_disk import file_size_limit

pytestmark = pytest.mark.sweep

IMAGES = {
    "train_images": 2,
    "validation_images": 2,
    "held_out_images": 2,
    "out_of_distribution_images": 2,
}
SIZES = {
    "scorer_images": 40,
    "scorer_steps": 2,
    "held_out_scorer_steps": 2,
    "scorer_batch": 8,
    "policy_images": 40,
    "policy_steps": 2,
    "policy_batch": 8,
    "metric_images": 2,
}
OUTPUTS = (
    "policies/base/model.safetensors",
    "scorers/search/open_clip_model.safetensors",
    "scorers/held_out/open_clip_model.safetensors",
    "data/prepare/scenes.parquet",
    "data/prepare/images/train-00000.png",
    "metrics/prepare.json",
)


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seed") / "whole"
    root.mkdir()
    params = load_params(ROOT / "csrdata/profiles/smoke.yaml").model_dump()
    params["source"] |= IMAGES
    params["prepare"] |= SIZES
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    assert run(root, "prepare", None).code == 0
    return root


@pytest.fixture(scope="module")
def built(seed: Path) -> dict[str, str]:
    """The hash of every file of the finished seed."""
    return snapshot(seed)


@pytest.fixture
def project(seed: Path, tmp_path: Path) -> Path:
    return copy(seed, tmp_path / "project")


@pytest.mark.parametrize(
    "damage", [truncated, flipped, empty, foreign, deleted], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("file", OUTPUTS)
def test_a_damaged_output(project: Path, built: dict[str, str], file: str, damage: Damage) -> None:
    """A damaged model is trained again, a damaged image drawn again: the same bytes."""
    damage(project / file)
    assert run(project, "prepare", None).code == 0
    assert snapshot(project) == built
    check_nothing_is_left(project)


def test_a_users_model_is_not_replaced(project: Path) -> None:
    """A model without the settings of ours was not trained here: one line, and it stays."""
    for name in (SETTINGS_FILE, SUMS):
        (project / "policies/base" / name).unlink()
    before = snapshot(project)
    said = check_one_line(run(project, "prepare", None))
    assert said.startswith("policies/base: got a folder that holds other things")
    assert snapshot(project) == before


def test_no_room(project: Path, built: dict[str, str]) -> None:
    """The models that were finished are kept, nothing is half-written, and with room the bytes are the same."""
    truncated(project / OUTPUTS[0])
    with file_size_limit(100_000):
        said = check_one_line(run(project, "prepare", None))
    assert said.startswith("policies/base: got File too large, expected room on the disk")
    check_nothing_is_left(project)
    assert run(project, "prepare", None).code == 0
    assert snapshot(project) == built


def test_read_only(project: Path, built: dict[str, str]) -> None:
    """The line names the folder; afterwards the bytes are the same."""
    truncated(project / OUTPUTS[0])
    with read_only(project / "policies"):
        said = check_one_line(run(project, "prepare", None))
    assert said.startswith("policies/base: got ")
    check_nothing_is_left(project)
    assert run(project, "prepare", None).code == 0
    assert snapshot(project) == built


@pytest.mark.parametrize("renames", range(1, 9))
def test_killed(project: Path, built: dict[str, str], killer: Killer, renames: int) -> None:
    """Killed before any of its renames, the next run ends with the same bytes, and nothing is left over."""
    truncated(project / OUTPUTS[2])
    assert killer.run(project, "prepare", None, renames=renames) == -9
    assert run(project, "prepare", None).code == 0
    assert snapshot(project) == built
    check_nothing_is_left(project)
