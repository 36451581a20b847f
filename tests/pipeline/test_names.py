"""Iterations may have any names: two rounds through every stage, then the commands that look at and publish them."""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml
from datasets import load_dataset
from dvc.repo import Repo

from csrdata import paths
from csrdata.cli import main
from csrdata.pipeline import STAGES as ALL_STAGES
from csrdata.pipeline import Needs
from csrdata.publishing.release.manifest import read_manifest
from tests.faults.project import copy, run
from tests.imports import ROOT
from tests.publishing.hub_server import online, serve

FIRST, SECOND = "warm-up_0", "warm"
"""In this order, which is not that of the alphabet; one is the other's beginning, and has what `datasets` takes in no split."""
ITERATIONS = {FIRST: {"previous": paths.BASE}, SECOND: {"previous": FIRST}}
STAGES = [stage for stage, needs in ALL_STAGES.items() if needs is not Needs.NOTHING]
STAGES.remove("judge_answers")  # a part of self-rewarding alone
STAGES.remove("check_stop")  # a part of a loop with limits alone


@pytest.fixture(scope="module")
def named(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose two iterations have names in place of numbers, through every stage."""
    root = copy(finished_project, tmp_path_factory.mktemp("named") / "project")
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump(params | {"iterations": ITERATIONS}, sort_keys=False)
    (root / "params.yaml").write_text(text, encoding="utf-8")
    for name in ITERATIONS:
        for stage in STAGES:
            ended = run(root, stage, name)
            assert ended.code == 0, ended.lines
    ended = run(root, "summarize", None)
    assert ended.code == 0, ended.lines
    return root


@pytest.fixture
def csrdata(
    named: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command in the project, and return what it printed."""
    monkeypatch.chdir(named)

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["csrdata", *words])
        with contextlib.suppress(SystemExit):
            main()
        return capsys.readouterr().out

    return call


def test_every_stage_takes_a_name(named: Path) -> None:
    """Each iteration has its tables and its policy; the second one's continues the first one's; nothing is called 1."""
    for name in ITERATIONS:
        for path in (paths.pairs(name), paths.answers(name), paths.stage_metrics("train_dpo", name)):
            assert (named / path).is_file()
    chain = json.loads((named / paths.policy(SECOND) / "chain.json").read_text(encoding="utf-8"))
    assert [Path(one).name for one in chain["adapters"]] == [FIRST, SECOND]


def test_the_summary_has_the_order_of_the_file(named: Path) -> None:
    """Columns, plots and headline follow params.yaml; the last iteration is its last line."""
    summary = json.loads((named / paths.SUMMARY).read_text(encoding="utf-8"))
    assert summary["iterations"] == ["base", FIRST, SECOND]
    assert f"| base | iteration {FIRST} | iteration {SECOND} |" in (
        named / paths.SUMMARY.with_suffix(".md")
    ).read_text(encoding="utf-8")
    plotted = pl.read_csv(named / paths.PLOTS / "chair_s.csv")["iteration"].unique(maintain_order=True)
    assert plotted.to_list() == ["base", FIRST, SECOND]
    headline = json.loads((named / paths.HEADLINE).read_text(encoding="utf-8"))
    assert headline["pairs"] == summary["pairs"][SECOND]["kept"]


def test_the_commands_take_names(csrdata: Callable[..., str]) -> None:
    """`stats` shows the last iteration of the file or the one that is named; `diff` and `show` take names."""
    assert json.loads(csrdata("stats", "--json"))["iteration"] == SECOND
    assert json.loads(csrdata("stats", "--iteration", FIRST, "--json"))["iteration"] == FIRST
    found = json.loads(csrdata("diff", FIRST, SECOND, "--json"))
    assert (found["a"], found["b"]) == (f"iteration {FIRST}", f"iteration {SECOND}")
    assert f"iteration {FIRST}" in csrdata("stats", "--iteration", FIRST)
    assert csrdata("show", "train-00000", "--iteration", FIRST)


def test_a_release_is_loaded_by_names(
    csrdata: Callable[..., str], named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each iteration's pairs and candidates load, those of no other; the card's columns follow params.yaml."""
    import huggingface_hub

    with serve(tmp_path / "hub") as hub:
        online(monkeypatch, tmp_path)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        printed = csrdata("push", "me/set", "--tag", "v1", "--dry-run", str(tmp_path / "release"))
    assert f"iteration_{FIRST}/train-00000-of-00001.parquet" in printed
    release = tmp_path / "release"
    assert [one.name for one in read_manifest(release).iterations] == [FIRST, SECOND]
    candidates = load_dataset(str(release), "candidates", cache_dir=str(tmp_path / "cache"))
    for name, split in ((FIRST, "iteration_warm_up_0"), (SECOND, "iteration_warm")):
        sentences = pl.read_parquet(named / paths.candidates(name) / "*.parquet")
        assert set(candidates[split]["iteration"]) == {name}
        assert len(candidates[split]) == len(sentences)
        pairs = load_dataset(str(release), f"iteration_{name}", cache_dir=str(tmp_path / "cache"))["train"]
        assert pairs["prompt_id"] == pl.read_parquet(named / paths.pairs(name))["prompt_id"].to_list()
    card = (release / "README.md").read_text(encoding="utf-8")
    heads = [line for line in card.splitlines() if line.startswith("| figure ") and "policy" in line]
    assert heads
    for line in heads:
        cells = [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
        assert cells == ["figure", "unit", "base", f"policy {FIRST}", f"policy {SECOND}"]


def test_dvc_takes_names(named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dvc.yaml gives every iteration its stages, with the name in command and paths, text that looks like a number too."""
    names = {**ITERATIONS, "007": {"previous": SECOND}, "1e5": {"previous": "007"}, "on": {"previous": "1e5"}}
    params = yaml.safe_load((named / "params.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text(json.dumps(params | {"iterations": names}), encoding="utf-8")
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    repo = Repo.init(no_scm=True)
    stages = {stage.addressing: stage for stage in repo.index.stages}
    for name, entry in names.items():
        for stage in STAGES:
            assert stages[f"{stage}@{name}"].cmd == f"python stages/{stage}.py {name}"
        read = [str(dep) for dep in stages[f"train_dpo@{name}"].deps]
        assert f"policies/{entry['previous']}" in read
        assert f"policies/{name}" in [str(out) for out in stages[f"train_dpo@{name}"].outs]
