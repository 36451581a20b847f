"""A loop that stops, in a project of `csrdata init`: by `csrdata run --all` and by `dvc repro`, with the same files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from csrdata.evaluation.summary import read_summary
from csrdata.params import load_params
from csrdata.pipeline import check_stop
from csrdata.pipeline.dag import Form, write_project_files
from csrdata.pipeline.graph import steps
from csrdata.pipeline.run_all import run_all
from csrdata.pipeline.staleness import LOCK, Project, record
from csrdata.storage.dvc_lock import read_lock, write_stage
from csrdata.strict_yaml import read_yaml
from tests.faults.project import copy, inside, snapshot
from tests.imports import ROOT

LIMITS = {"split": "validation", "recall_falls": None, "objects_fall": None, "held_out_falls": None}
CHECKS = ("check_base", "check_stop@1", "check_stop@2")


@pytest.fixture
def stopping(finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The finished project with a second iteration; the first has one pair fewer than the limit, and is recorded as it is.

    Two pairs per prompt are allowed: a limit above what the prompts can give would be refused.
    """
    project = copy(finished_project, tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    with inside(project):
        raw = read_yaml(Path("params.yaml"))
        kept = json.loads(Path("metrics/select_pairs/1.json").read_text(encoding="utf-8"))["kept"]
        raw["select_pairs"]["per_prompt"] = 2
        raw["stop_when"] = LIMITS | {"least_pairs": kept + 1}
        raw["iterations"] = {"1": {"previous": "base"}, "2": {"previous": "1"}}
        Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        subprocess.run(["git", "init", "--quiet"], check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
        Path(".dvcignore").write_text("/logs\n", encoding="utf-8")
        write_project_files(load_params())
        found = Project(load_params(), raw, Form.PROJECT)
        check_stop.run(found.params, "base")
        for step in steps(found.params):
            if step.node.argument in {None, "base", "1"} and not step.name.startswith(
                ("check_", "summarize", "report")
            ):
                write_stage(LOCK, step.name, record(step, found))
        yield project


@pytest.mark.sweep
def test_both_ways_end_alike(stopping: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, a summary and a report that say where and why; DVC takes what csrdata ran, and makes the same bytes."""
    ran = run_all()
    said = capfd.readouterr().err
    assert said.count("not run, because the loop stopped at iteration 1: ") == 9
    summary = read_summary(Path("metrics/summary.json"))
    assert summary.iterations == ("base", "1")
    (stopped,) = summary.stopped
    assert (stopped.iteration, stopped.not_run) == ("1", ("2",))
    assert stopped.words() in Path("metrics/summary.md").read_text(encoding="utf-8")
    assert Path("data/report/index.html").is_file()
    assert (
        ran == 3 + 8 + 2
    )  # base and two iterations are compared, eight stages do not run, then the last two
    ours, lock = snapshot(stopping), read_lock(LOCK)
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], capture_output=True, text=True, check=True
    )
    assert status.stdout.strip() == "Data and pipelines are up to date."

    for name in (*CHECKS, *(name for name in lock if name.endswith("@2")), "summarize", "report"):
        shutil.rmtree(Path("metrics/check_stop"), ignore_errors=True)
        _forget(name)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    names = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage '")]
    assert len(names) == ran
    assert {name: ours[name] for name in ours if _is_data(name)} == {
        name: value for name, value in snapshot(stopping).items() if _is_data(name)
    }
    assert read_lock(LOCK) == lock


@pytest.mark.sweep
def test_a_limit_that_holds_lets_the_loop_go_on(stopping: Path) -> None:
    """With a smaller limit, what was marked runs again, and nothing of iteration 1 does."""
    run_all()
    raw = read_yaml(Path("params.yaml"))
    raw["stop_when"]["least_pairs"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "csrdata", "run", "--all"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    again = {line.partition(":")[0] for line in done.stderr.splitlines() if ": running, " in line}
    assert again >= {
        "check_stop@1",
        "generate_beams@2",
        "train_dpo@2",
        "evaluate_policy@2",
        "check_stop@2",
        "summarize",
    }
    assert not {"generate_beams@1", "train_dpo@1", "evaluate_policy@1"} & again
    assert read_summary(Path("metrics/summary.json")).stopped == ()
    assert not list(stopping.rglob("stopped.json"))


def _forget(name: str) -> None:
    """Remove a stage from dvc.lock, so that DVC runs it."""
    stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))
    stages["stages"].pop(name, None)
    LOCK.write_text(yaml.safe_dump(stages, sort_keys=False), encoding="utf-8")


def _is_data(name: str) -> bool:
    return name.startswith(("data/", "metrics/", "policies/", "plots/"))
