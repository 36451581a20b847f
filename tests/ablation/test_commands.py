"""`csrdata arms`, `csrdata init --arm` and `python -m csrdata.ablation`, as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from csrdata.ablation.arms import read_arms
from csrdata.cli import app
from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.strict_yaml import read_yaml
from tests.imports import ROOT


def _csrdata(*words: str) -> None:
    app(list(words), prog_name="csrdata", standalone_mode=False)


def test_arms_are_listed_with_what_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, sentence, group, iterations, and each changed key with both values; JSON has the same."""
    _csrdata("arms")
    lines = capsys.readouterr().out.splitlines()
    arm = read_arms().named("sentence-ranking")
    place = lines.index(f"sentence-ranking: {arm.about}")
    about = f"  {arm.group}, {arm.iterations} iteration{'s' * (arm.iterations != 1)}"
    assert lines[place + 1 : place + 3] == [about, "  generate_beams.rank_by: cumulative -> sentence"]
    _csrdata("arms", "--json")
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(read_arms().by_name)
    one = {"1": {"previous": "base"}}
    assert found[arm.name]["changes"] == {"generate_beams.rank_by": "sentence", "iterations": one}


def test_an_arm_that_does_not_fit_a_profile_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Real models have no key of the microworld's training; an arm that changes nothing there says so."""
    _csrdata("arms", "--profile", "llava15-7b")
    said = capsys.readouterr().out
    assert "not for this profile: prepare.held_out_scorer_steps: an unknown key" in said
    assert "changes nothing here" in said


def test_a_project_of_an_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An ordinary project with the arm's values, also over a params file of one's own; comments stay."""
    _csrdata("init", str(tmp_path / "one"), "--arm", "no-anchor")
    assert "with the parameters of microworld, changed as arm no-anchor" in capsys.readouterr().err
    mine = tmp_path / "one/params.yaml"
    text = mine.read_text(encoding="utf-8")
    assert text.startswith("# The arm no-anchor (csrdata arms): Without the token loss")
    assert "\n# changed: train_dpo.sft_weight: 30.0 -> 0.0\n" in text
    assert "# 0..1: how often a caption names an absent stereotype" in text
    assert load_params(mine).train_dpo.sft_weight == 0.0
    _csrdata("init", str(tmp_path / "two"), "--profile", str(mine), "--arm", "penalty-0.5")
    both = load_params(tmp_path / "two/params.yaml")
    assert both.train_dpo.sft_weight == 0.0
    assert both.generate_beams.proposal.diversity_penalty == 0.5  # type: ignore[union-attr]
    assert read_yaml(tmp_path / "two/params.yaml")["source"] == read_yaml(mine)["source"]


def test_a_wrong_arm_or_file_creates_nothing(tmp_path: Path) -> None:
    """One line, and no folder."""
    with pytest.raises(UserError, match=r"^arm: got papr, expected paper\. Next: csrdata arms$"):
        _csrdata("init", str(tmp_path / "new"), "--arm", "papr")
    with pytest.raises(UserError, match=r"mine\.yaml: got no such file"):
        _csrdata("init", str(tmp_path / "new"), "--profile", str(tmp_path / "mine.yaml"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "papr", "--dry-run"], "arm: got papr, expected paper. Next: csrdata arms"),
        (["run", "--seeds", "0,x", "--dry-run"], "--seeds: got 0,x, expected whole numbers with commas"),
        (["run", "--profile", "smok", "--dry-run"], "--profile: got smok, expected smoke"),
        (["tune", "base"], "arm base: got 0 iterations, expected an arm that trains"),
        (["collect", "base", "0", "--project", "."], "params.yaml: got no such file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    """Exit code 1, the line on stderr, and nothing is written."""
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.ablation", *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_and_runs_nothing(tmp_path: Path) -> None:
    """Every run in order, seed by seed; no folder is made."""
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.ablation", "run", "paper", "base", "--dry-run"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:3] == ["to run  paper/0", "to run  base/0", "to run  paper/1"]
    assert list(tmp_path.iterdir()) == []
