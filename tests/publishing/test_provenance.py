"""dvc.lock is compared with the project, and csrdata's hashes with DVC's."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import dumps_yaml

from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.publishing.release.provenance import behind, check_params, check_run, commit, inputs
from csrdata.storage.dvc_lock import read_lock
from tests.imports import ROOT

TABLES = ["data/generate_beams/1", "data/score_beams/1", "data/select_pairs/1", "data/sample_prompts"]


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    """The lock of the shipped run."""
    return read_lock(ROOT / "dvc.lock")


def test_the_stages_behind_some_tables(lock: dict[str, Any]) -> None:
    """The first iteration's pairs depend on no training and no later iteration; the second's depend on the first and on training."""
    assert set(behind(lock, ["data/select_pairs/1"])) == {
        "prepare",
        "sample_prompts",
        "generate_beams@1",
        "measure_signals@1",
        "score_beams@1",
        "select_pairs@1",
    }
    assert {"train_dpo@1", "select_pairs@1"} < set(behind(lock, ["data/select_pairs/2"]))
    assert not any(name.startswith("evaluate") for name in behind(lock, ["data/select_pairs/3"]))


def test_inputs_are_what_no_stage_made(lock: dict[str, Any]) -> None:
    """Inputs are source files with their MD5; tables, models and metrics of the DAG are not inputs."""
    found = inputs(lock)
    assert len(found["csrdata/search/pairs.py"]) == 32
    assert not any(path.startswith(("data/", "policies/", "scorers/", "metrics/")) for path in found)


def _dvc(folder: Path, *words: str) -> None:
    subprocess.run(["dvc", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A project whose one stage DVC itself has run."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    stage = {
        "cmd": "mkdir -p data/sub && cp params.yaml data/b && cp params.yaml data/sub/a",
        "params": ["select_pairs", "prepare.kind", "iterations"],
        "outs": ["data"],
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    _dvc(tmp_path, "init", "--no-scm", "--quiet")
    _dvc(tmp_path, "repro", "--quiet")
    return tmp_path


def _check(run: Path) -> None:
    params = load_params(run / "params.yaml").model_dump()
    check_run(run / "dvc.lock", ["data"], params=params, root=run)


def _refusal(run: Path) -> str:
    with pytest.raises(UserError) as error:
        _check(run)
    return str(error.value)


def test_a_project_must_be_what_its_lock_says(run: Path) -> None:
    """A project as DVC left it passes; another parameter, table, or a table of no stage is refused. A new iteration passes."""
    _check(run)
    params = run / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text + '  "4": {previous: "3"}\n', encoding="utf-8")
    _check(run)
    params.write_text(text.replace("min_gap: 8.0 ", "min_gap: 9.0 "), encoding="utf-8")
    assert _refusal(run).startswith("params.yaml: select_pairs.min_gap: got 9.0, expected 8.0, as ")
    assert _refusal(run).endswith("says of make. Next: dvc repro")
    params.write_text(text, encoding="utf-8")
    (run / "data/sub/a").write_text("other")
    assert _refusal(run).startswith("data: got other content, expected what ")
    with pytest.raises(UserError, match="nowhere: got no such output"):
        check_run(run / "dvc.lock", ["nowhere"], params=load_params(params).model_dump(), root=run)


def test_a_lock_that_is_none(tmp_path: Path) -> None:
    """A missing or foreign file is one line."""
    with pytest.raises(UserError, match="got no such file, expected the record of a run"):
        read_lock(tmp_path / "dvc.lock")
    (tmp_path / "dvc.lock").write_text("- a list")
    with pytest.raises(UserError, match=r"got no stages, expected a dvc\.lock"):
        read_lock(tmp_path / "dvc.lock")


def test_the_commit_is_gits(tmp_path: Path) -> None:
    """None outside of git; the head's hash inside, with a note where tracked files differ."""
    assert commit(tmp_path) is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for words in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    head = commit(tmp_path)
    assert head is not None
    assert len(head) == 40
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == f"{head}+changes"


def test_a_lock_is_read_as_dvc_wrote_it(tmp_path: Path) -> None:
    """DVC writes YAML 1.2, in which `1e-07` is a number and `on` is text: a project that has them is no other project."""
    params = {
        "train_dpo": {"learning_rate": 1e-7},
        "iterations": {"on": {"previous": "base"}, "007": {"previous": "on"}},
    }
    stage = {"cmd": "c", "params": {"params.yaml": params}, "outs": [{"path": "data", "md5": "0" * 32}]}
    lock = tmp_path / "dvc.lock"
    lock.write_text(dumps_yaml({"schema": "2.0", "stages": {"train_dpo@on": stage}}), encoding="utf-8")
    assert "learning_rate: 1e-07" in lock.read_text(encoding="utf-8")
    check_params(read_lock(lock), params, lock=lock)
    with pytest.raises(
        UserError, match=r"train_dpo\.learning_rate: got 1e-06, expected 1e-07, as .* says of train_dpo@on"
    ):
        check_params(read_lock(lock), params | {"train_dpo": {"learning_rate": 1e-6}}, lock=lock)
