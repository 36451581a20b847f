"""The pipeline through DVC in a temporary clone, at the smoke profile's sizes and with its first iteration.

`make test-all` appends the second iteration. `tests/test_real_models.py` runs two in one go.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from csrdata.params import load_params
from csrdata.pipeline.dag import Form, write_project_files
from csrdata.pipeline.graph import steps
from csrdata.pipeline.project import create
from csrdata.pipeline.run_all import run_all
from csrdata.pipeline.staleness import LOCK, Project, record
from csrdata.storage.dvc_lock import read_lock, write_stage
from csrdata.strict_yaml import read_yaml
from tests.imports import ROOT
from tests.pipeline.world import PLAIN_FIGURES

DRY_OR_WHOLE = [pytest.param(False, id="dry"), pytest.param(True, id="whole", marks=pytest.mark.sweep)]
"""`make test` asks what would run, `make test-all` runs it."""
SPLITS = {"validation", "held_out", "out_of_distribution"}


def _environment(project: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # The clone's own code, not the installed checkout's; a project of `csrdata init` has none.
        "PYTHONPATH": str(project if (project / "csrdata").is_dir() else ROOT),
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def _dvc(project: Path, *words: str) -> str:
    """Run dvc in a project and return what it said; a failure fails the test with its words."""
    return _run(project, "dvc", *words)


def _run(project: Path, module: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=project,
        env=_environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def _ran(output: str) -> list[str]:
    """Return the stages that a `dvc repro` ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def _edit_params(project: Path, section: str, **values: object) -> str:
    """Change a section of the clone's params.yaml and return the text from before."""
    path = project / "params.yaml"
    before = path.read_text(encoding="utf-8")
    params = yaml.safe_load(before)
    params[section].update(values)
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the working tree with the smoke profile's first iteration, after one `dvc repro`."""
    folder = tmp_path_factory.mktemp("clone")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listing.splitlines():
        # A run's record in the checkout is of other sizes.
        if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith(("metrics/", "plots/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    raw = read_yaml(ROOT / "csrdata/profiles/smoke.yaml")
    del raw["iterations"]["2"]
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    # The smoke profile pairs whole answers: other code is behind `select_pairs` than in the checkout's dvc.yaml.
    dag = [sys.executable, "-m", "csrdata.pipeline.dag"]
    subprocess.run(dag, cwd=folder, env=_environment(folder), check=True, capture_output=True)
    _dvc(folder, "repro")
    return folder


@pytest.fixture
def restored(project: Path) -> Iterator[Path]:
    """The clone, with params.yaml put back afterwards."""
    before = (project / "params.yaml").read_text(encoding="utf-8")
    yield project
    (project / "params.yaml").write_text(before, encoding="utf-8")


def _summary(project: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((project / "metrics/summary.json").read_text(encoding="utf-8"))
    return summary


@pytest.mark.timeout(900)
def test_a_second_run_has_nothing_to_do(project: Path) -> None:
    """A second `dvc repro` runs no stage."""
    assert _ran(_dvc(project, "repro")) == []


@pytest.mark.timeout(900)
def test_the_final_record_is_made_once(restored: Path) -> None:
    """It is of base and last policy on the test split; made again it does nothing, and other settings are refused."""
    done = _final(restored)
    assert done.returncode == 0, done.stderr
    record = (restored / "metrics/final.json").read_bytes()
    found = json.loads(record)
    assert found["summary"]["iterations"] == ["base", "1"]
    assert set(found["summary"]["splits"]) == {"test"}
    assert set(found["summary"]["splits"]["test"]["1"]) >= PLAIN_FIGURES
    assert set(found["settings"]) == {"params", "base", "policy", "search", "held_out"}
    words = (restored / "metrics/final.md").read_text(encoding="utf-8")
    assert "## test" in words
    assert found["settings"]["params"] in words
    assert found["machine"]["processor"] in words
    assert "nothing was done" in _final(restored).stderr
    assert _ran(_dvc(restored, "repro")) == []
    _edit_params(restored, "select_pairs", margin=0.01)
    refused = _final(restored)
    assert refused.returncode == 1
    assert refused.stderr.startswith("metrics/final.json: got a record of other settings (params)")
    assert refused.stderr.count("\n") == 1
    assert (restored / "metrics/final.json").read_bytes() == record


def _final(project: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "csrdata.pipeline.final"],
        cwd=project,
        env=_environment(project),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_summary_has_its_stable_form(project: Path) -> None:
    """Every split has the base and each iteration, every figure its value and interval, the base no p-value."""
    summary = _summary(project)
    assert set(summary["splits"]) == SPLITS
    for split in summary["splits"].values():
        assert sorted(split) == ["1", "base"]
        for policy, figures in split.items():
            assert set(figures) >= PLAIN_FIGURES
            for name in PLAIN_FIGURES:
                assert set(figures[name]) == {"value", "low", "high", "p_vs_base"}
            assert (figures["chair_s"]["p_vs_base"] is None) == (policy == "base")


def test_every_prompt_is_accounted_for(project: Path) -> None:
    """Kept and dropped add up to the prompts in every iteration, and there are pairs to train on."""
    for entry in _summary(project)["pairs"].values():
        assert entry["kept"] + sum(entry["dropped"].values()) == 12
        assert entry["kept"] > 0
        assert {"chosen_reward", "rejected_reward", "truth_preference"} <= set(entry)


def test_the_image_term_is_alive(project: Path) -> None:
    """Relevances are above 0 and differ, so that the run goes through equation 4 and not through likelihood alone."""
    rows = pl.read_parquet(project / "data/score_beams/1/*.parquet")
    assert rows["relevance"].min() > 0  # type: ignore[operator]
    assert rows["relevance"].n_unique() > 10


def test_no_run_leaves_partial_files(project: Path) -> None:
    """No partial file of an atomic write remains."""
    assert list(project.rglob("*.partial")) == []


def test_selecting_again_needs_no_model(restored: Path) -> None:
    """A change of selection runs select_pairs and later stages again, not prepare, the search or the scores."""
    _edit_params(restored, "select_pairs", margin=0.01)
    assert _ran(_dvc(restored, "repro", "--dry", "--single-item", "select_pairs@1")) == ["select_pairs@1"]
    would_run = _ran(_dvc(restored, "repro", "--dry", "select_pairs@1"))
    assert would_run == ["select_pairs@1"]


def test_a_killed_search_ends_with_the_same_bytes(project: Path) -> None:
    """Killed between two shards, the next run keeps what is complete, makes the rest, and dvc.lock does not change."""
    lock = (project / "dvc.lock").read_bytes()
    shards = project / "data/generate_beams/1"
    shutil.rmtree(shards)
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache", "generate_beams@1"],
        cwd=project,
        env=_environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    first = shards / "00000.parquet"
    deadline = time.monotonic() + 120
    while not _is_listed(first) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert first.is_file()
    made = first.stat().st_mtime_ns
    assert len(list(shards.glob("*.parquet"))) < 6, "killed too late to prove anything"
    assert _ran(_dvc(project, "repro", "--no-run-cache", "generate_beams@1")) == ["generate_beams@1"]
    assert first.stat().st_mtime_ns == made
    assert (project / "dvc.lock").read_bytes() == lock
    assert _ran(_dvc(project, "repro")) == []


def test_what_is_gone_from_the_cache_is_made_again(project: Path) -> None:
    """Without an output and the file of DVC's cache that holds it, its stage runs again, with the same bytes, and no other."""
    lock = (project / "dvc.lock").read_bytes()
    (out,) = (
        out
        for out in read_lock(project / LOCK)["select_pairs@1"]["outs"]
        if out["path"] == "data/select_pairs/1"
    )
    cached = project / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
    listed = json.loads(cached.read_text(encoding="utf-8"))
    for one in listed:
        (cached.parents[1] / one["md5"][:2] / one["md5"][2:]).unlink()
    cached.unlink()
    shutil.rmtree(project / "data/select_pairs/1")
    assert _ran(_dvc(project, "repro")) == ["select_pairs@1"]
    assert (project / "dvc.lock").read_bytes() == lock


def _is_listed(shard: Path) -> bool:
    """Whether the manifest lists a shard: one that is not listed yet is made again."""
    manifest = shard.with_name("manifest.json")
    return manifest.is_file() and shard.name in manifest.read_text(encoding="utf-8")


@pytest.mark.sweep
@pytest.mark.timeout(900)
def test_an_appended_iteration_runs_alone(restored: Path) -> None:
    """Only the new iteration's stages and the summary run; all others stay as they are."""
    _edit_params(restored, "iterations", **{"2": {"previous": "1"}})
    stages = (
        "generate_beams",
        "measure_signals",
        "score_beams",
        "select_pairs",
        "train_dpo",
        "evaluate_policy",
        "match_recall",
        "measure_attention",
    )
    assert sorted(_ran(_dvc(restored, "repro"))) == sorted(
        [*(f"{stage}@2" for stage in stages), "summarize", "report"]
    )
    assert _summary(restored)["iterations"] == ["base", "1", "2"]


AGAIN = {"select_pairs@1", "summarize", "report"}
"""What `csrdata run --all` runs in the test below; the models behind the other runs take minutes."""


@pytest.fixture
def initialised(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of `csrdata init` that has the clone's first iteration: all but `AGAIN` is recorded by csrdata."""
    folder = tmp_path / "my-csr"
    create(folder, profile="smoke")
    monkeypatch.chdir(folder)
    raw = read_yaml(Path("params.yaml"))
    del raw["iterations"]["2"]
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    write_project_files(load_params())
    found = Project(load_params(), raw, Form.PROJECT)
    every = list(steps(found.params))
    for output in (
        output for step in every if step.name not in {"summarize", "report"} for output in step.node.outputs
    ):
        source, target = project / output.path, folder / output.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    for step in every:
        if step.name not in AGAIN:
            write_stage(LOCK, step.name, record(step, found))
    return folder


def _hashes(lock: dict[str, Any], name: str) -> dict[str, str]:
    """Return the hash of each input and output of a run; the repository's code is an input there, not in a project."""
    parts = [*lock[name].get("deps", []), *lock[name]["outs"]]
    return {part["path"]: part["md5"] for part in parts if not part["path"].startswith("csrdata/")}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("whole", DRY_OR_WHOLE)
def test_dvc_and_csrdata_agree(
    project: Path, initialised: Path, capsys: pytest.CaptureFixture[str], *, whole: bool
) -> None:
    """In a project of `csrdata init`, what one of them has run, the other takes for done, before and after a change."""
    said = _run(initialised, "csrdata", "run", "--all")
    assert {line.partition(":")[0] for line in said.splitlines() if ": running, " in line} == AGAIN
    ours, theirs = read_lock(initialised / LOCK), read_lock(project / LOCK)
    for name in ours.keys() - {
        "summarize",
        "report",
    }:  # `make test-all` has appended an iteration there by now
        assert _hashes(ours, name) == _hashes(theirs, name), name
    assert _dvc(initialised, "status").strip() == "Data and pipelines are up to date."
    assert _ran(_dvc(initialised, "repro", "--dry")) == []

    margins = pl.read_parquet("data/select_pairs/1/pairs.parquet")["margin"].sort()
    assert margins[0] < margins[-1]
    _edit_params(initialised, "select_pairs", margin=margins[-1])
    stale = set(json.loads(_dvc(initialised, "status", "--json")))
    capsys.readouterr()
    run_all(dry_run=True)
    lines = capsys.readouterr().err.splitlines()
    would_run = {line.partition(":")[0] for line in lines if ": would run, " in line}
    assert (
        stale == {"select_pairs@1", "summarize", "report"} == set(_ran(_dvc(initialised, "repro", "--dry")))
    )
    assert stale < would_run
    assert would_run - stale == {"train_dpo@1", "evaluate_policy@1", "match_recall@1", "measure_attention@1"}
    if not whole:
        return
    assert set(_ran(_dvc(initialised, "repro"))) == would_run
    assert run_all(dry_run=True) == 0

    found = Project(load_params(), read_yaml(Path("params.yaml")), Form.PROJECT)
    written = read_lock(LOCK)
    for step in steps(found.params):  # what DVC wrote is what csrdata would have written
        assert written[step.name] == record(step, found), step.name
