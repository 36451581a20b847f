"""Stages that two arms have in common: the second project takes them from the first, and DVC agrees."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csrdata import paths
from csrdata.ablation.arms import read_arms
from csrdata.ablation.projects import Campaign, Run, make_project, open_campaign
from csrdata.ablation.sharing import Adopted, Ran, adopt, publish, runs_of
from csrdata.params import Params

FILE = """\
tuning: {grid: {train_dpo.learning_rate: [0.0001]}, recall_loss: 2.0}
quick: {arms: [base], changes: {source.train_images: 15}}
arms:
  base: {about: Base., group: must, iterations: 0, changes: {}}
  shipped: {about: Shipped., group: must, iterations: 2, changes: {}}
  other-loss: {about: Off., group: must, iterations: 2, changes: {train_dpo.beta: 0.2}}
  other-scorer: {about: Off., group: must, iterations: 2, changes: {prepare.held_out_scorer_steps: 11}}
  other-images: {about: Off., group: must, iterations: 2, changes: {source.train_images: 15}}
"""
BEFORE_TRAINING = {
    "prepare",
    "sample_prompts",
    "evaluate_base",
    "match_base",
    "generate_beams@1",
    "measure_signals@1",
    "score_beams@1",
    "select_pairs@1",
}


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    path = tmp_path / "arms.yaml"
    path.write_text(FILE, encoding="utf-8")
    return open_campaign(read_arms(path), top=tmp_path / "top", results=tmp_path / "results", profile="smoke")


def _dvc(project: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _make(campaign: Campaign, arm: str, seed: int = 0) -> tuple[Path, Params, list[Ran]]:
    run = Run(campaign.arms.named(arm), seed)
    params, raw = make_project(campaign, run)
    project = campaign.project(run)
    return project, params, runs_of(project, params, raw)


def _fill(project: Path, runs: list[Ran]) -> None:
    """Write outputs of every stage, made up, as if they had run; with a line of the log each."""
    log = project / paths.STAGE_LOG
    log.parent.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for ran in runs:
        node = ran.step.node
        for output in node.outputs:
            path = project / output.path
            path = path if path.suffix else path / "part.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{ran.step.name} {output.path}".encode())
        lines.append({"event": "stage", "stage": node.stage, "name": node.argument, "cpu_seconds": 1.0})
    for name in (name for ran in runs for name in ran.step.node.inputs):
        if not (project / name).exists():  # a file inside an output
            path = project / name if Path(name).suffix else project / name / "part.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def test_keys_tell_what_two_arms_share(campaign: Campaign) -> None:
    """Equal keys up to the first stage that an arm changes; other images, another seed or other code share nothing."""
    keys = {
        name: {ran.step.name: ran.key for ran in _make(campaign, name)[2]}
        for name in ("shipped", "other-loss", "other-images")
    }
    keys["another-seed"] = {ran.step.name: ran.key for ran in _make(campaign, "shipped", 1)[2]}
    own = keys["shipped"]
    assert {name for name, key in keys["other-loss"].items() if key == own[name]} == BEFORE_TRAINING
    assert {name for name, key in keys["other-images"].items() if key == own[name]} == set()
    assert {name for name, key in keys["another-seed"].items() if key == own[name]} == set()
    assert len(set(own.values())) == len(own)


def test_the_second_arm_takes_what_the_first_has_made(campaign: Campaign) -> None:
    """Entries, outputs and the log's lines come along, from the shared cache; DVC finds these stages up to date."""
    first, _, runs = _make(campaign, "shipped")
    _fill(first, runs)
    _dvc(first, "commit", "--force", "--quiet")
    publish(campaign.store, first, runs)
    second, _, own = _make(campaign, "other-loss")
    found = adopt(campaign.store, second, own)
    assert set(found.present) == set(found.taken) == BEFORE_TRAINING
    assert found.started == []
    _dvc(second, "checkout", "--force", *found.present)
    changed = json.loads(_dvc(second, "status", "--json"))
    assert set(changed) & BEFORE_TRAINING == set()
    assert "train_dpo@1" in changed
    for ran in own:
        if ran.step.name in BEFORE_TRAINING:
            for output in ran.step.node.outputs:
                assert (second / output.path).exists(), output.path
    log = (second / paths.STAGE_LOG).read_text(encoding="utf-8").splitlines()
    assert len(log) == len(BEFORE_TRAINING)
    assert adopt(campaign.store, second, own) == Adopted(found.present, [], [])


def test_prepare_starts_from_the_models_of_the_nearest_project(campaign: Campaign) -> None:
    """An arm with another scorer finds the base and the first scorer of its own seed there; DVC runs the stage all the same."""
    for seed in (1, 0):
        project, _, runs = _make(campaign, "shipped", seed)
        _fill(project, runs)
        _dvc(project, "commit", "--force", "--quiet")
        (project / "policies/base/part.bin").write_bytes(b"seed %d" % seed)
        _dvc(project, "commit", "--force", "--quiet", "prepare")
        publish(campaign.store, project, runs, names=["prepare"])
    for seed in (0, 1):
        project, _, runs = _make(campaign, "other-scorer", seed)
        found = adopt(campaign.store, project, runs)
        assert (found.present, found.taken, found.started) == ([], [], ["prepare"])
        _dvc(project, "checkout", "--force", "prepare")
        assert (project / "policies/base/part.bin").read_bytes() == b"seed %d" % seed
        assert (project / "scorers/search/part.bin").is_file()
        assert "prepare" in json.loads(_dvc(project, "status", "--json"))
        assert adopt(campaign.store, project, runs) == Adopted([], [], [])


def test_models_of_other_code_are_no_start(campaign: Campaign) -> None:
    """The settings of a model do not say which code trained it."""
    project, _, runs = _make(campaign, "shipped")
    _fill(project, runs)
    _dvc(project, "commit", "--force", "--quiet")
    publish(campaign.store, project, runs, names=["prepare"])
    (stored,) = campaign.store.glob("*/entry.json")
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"code": "other"}), encoding="utf-8")
    other, _, runs = _make(campaign, "other-scorer")
    assert adopt(campaign.store, other, runs) == Adopted([], [], [])


def test_only_what_is_recorded_today_is_published(campaign: Campaign) -> None:
    """What ran with other parameters is not stored under today's keys, nor what reads it, nor a stage that is not named."""
    project, _, runs = _make(campaign, "shipped")
    _fill(project, runs)
    _dvc(project, "commit", "--force", "--quiet")
    params, raw = campaign.params(Run(campaign.arms.named("shipped"), 1))
    publish(campaign.store, project, runs_of(project, params, raw))
    assert list(campaign.store.glob("*")) == []
    publish(campaign.store, project, runs, names=["sample_prompts", "evaluate_base"])
    assert {path.name for path in campaign.store.glob("*")} == {ran.key for ran in runs[1:3]}
