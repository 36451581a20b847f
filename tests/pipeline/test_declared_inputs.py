"""The stages that make pairs and train on them read what dvc.yaml lists for them and nothing else: no truth, no questions."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths
from tests.faults.project import inside, run, snapshot
from tests.imports import ROOT

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
TRUTH = ("truth.parquet", "scenes.parquet", "questions.parquet")
"""The tables that say what is in the images, or what is asked about them."""


def _paths(stage: str, kind: str) -> Iterator[Path]:
    """Give a stage's dependencies or outputs in iteration 1, its code left out."""
    values = {"key": "1", "item.previous": paths.BASE}
    values |= {f"scorers.{name}.folder": f"scorers/{name}" for name in ("search", "held_out")}
    for entry in STAGES[stage]["do"][kind]:
        path = entry if isinstance(entry, str) else next(iter(entry))
        for name, value in values.items():
            path = path.replace(f"${{{name}}}", value)
        if not path.startswith("csrdata/"):
            yield Path(path)


@pytest.mark.parametrize(
    "stage", ["generate_beams", "measure_signals", "score_beams", "select_pairs", "train_dpo"]
)
def test_a_stage_that_makes_pairs_needs_no_truth(
    stage: str, finished_project: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """In a project that holds its declared inputs alone, it writes the same bytes as in one with the truth."""
    (tmp_path / "params.yaml").write_bytes((finished_project / "params.yaml").read_bytes())
    # Images are no dependency: their hashes are, in images.parquet.
    for path in (*_paths(stage, "deps"), paths.SCENES / "images"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if (finished_project / path).is_dir():
            shutil.copytree(finished_project / path, tmp_path / path)
        else:
            shutil.copyfile(finished_project / path, tmp_path / path)
    assert [path for path in tmp_path.rglob("*") if path.name in TRUTH] == []
    assert all(
        (finished_project / table).is_file() for table in (paths.TRUTH, paths.SCENES / "scenes.parquet")
    )
    before = snapshot(tmp_path)
    ended = run(tmp_path, stage, "1")
    assert ended.code == 0, ended.lines
    made = {name: value for name, value in snapshot(tmp_path).items() if name not in before}
    outs = list(_paths(stage, "outs"))
    assert made == {
        name: value for name, value in whole.items() if any(Path(name).is_relative_to(out) for out in outs)
    }
    assert made


def test_the_stage_that_measures_does_need_it(finished_project: Path, tmp_path: Path) -> None:
    """Without the truth, evaluation ends in one line before a model is loaded: the check above can fail."""
    with inside(tmp_path):
        Path("params.yaml").write_bytes((finished_project / "params.yaml").read_bytes())
        Path("dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        shutil.copytree(finished_project / "data/sample_prompts", "data/sample_prompts")
        paths.TRUTH.unlink()
    ended = run(tmp_path, "evaluate_policy", "1")
    assert ended.code == 1
    assert ended.lines == [
        f"{paths.TRUTH}: got no such table, expected a Parquet file. Next: dvc repro sample_prompts"
    ]
