"""The tuning rule: what it chooses, and what it writes down."""

import json
from pathlib import Path

import pytest

from csrdata.ablation.arms import read_arms
from csrdata.ablation.projects import open_campaign
from csrdata.ablation.tuning import (
    Figures,
    Trial,
    Tuned,
    choose,
    read_figures,
    read_record,
    trials_of,
    write_record,
)
from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.storage.disk import write_json

BASE = Figures(chair_s=45.0, recall=92.0)


def _trials(*figures: tuple[float, float]) -> list[Trial]:
    return [Trial({"train_dpo.epochs": number}, Figures(*one)) for number, one in enumerate(figures, start=1)]


@pytest.mark.parametrize(
    ("figures", "chosen"),
    [
        (((30.0, 92.0), (20.0, 90.0), (5.0, 89.9)), 2),  # 89.9 is more than two points below
        (((20.0, 91.0), (20.0, 92.0)), 1),  # equal: the first
        (((5.0, 60.0), (3.0, 70.0)), 2),  # none is near: the highest recall
    ],
)
def test_the_rule(figures: tuple[tuple[float, float], ...], chosen: int) -> None:
    """The lowest CHAIR_S whose recall is at most two points below the base's; if there is none, the highest recall."""
    assert choose(_trials(*figures), BASE, recall_loss=2.0).changes == {"train_dpo.epochs": chosen}


def test_what_was_tried_is_written_down(tmp_path: Path) -> None:
    """Every setting with its figures, the base, and the choice."""
    trials, path = _trials((30.0, 92.0), (20.0, 91.0)), tmp_path / "arm/tuning.json"
    path.parent.mkdir()
    assert write_record(path, trials, BASE, recall_loss=2.0, revision="abc") == trials[1]
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["chosen"] == {"train_dpo.epochs": 2}
    assert found["trials"][0] == {"changes": {"train_dpo.epochs": 1}, "chair_s": 30.0, "recall": 92.0}
    assert found["base"] == {"chair_s": 45.0, "recall": 92.0}
    assert read_record(path) == Tuned(tuple(trials), {"train_dpo.epochs": 2})
    del found["trials"][1]["recall"]
    write_json(path, found)
    with pytest.raises(UserError, match=r"trials\.1\.recall: got no such key, .* tune arm"):
        read_record(path)


def test_each_setting_is_a_run_of_one_iteration(tmp_path: Path) -> None:
    """The arm's changes, then the setting; every arm is tried over the same grid; one that trains nothing is refused."""
    arms = read_arms()
    campaign = open_campaign(arms, top=tmp_path, results=tmp_path, profile="microworld")
    runs = trials_of(campaign, arms.named("no-anchor"))
    assert len(runs) == len(arms.tuning.trials())
    for run, setting in zip(runs, arms.tuning.trials(), strict=True):
        params, raw = campaign.params(run)
        assert list(params.iterations) == ["1"]
        assert params.train_dpo.sft_weight == 0.0
        assert raw["train_dpo"]["learning_rate"] == setting["train_dpo.learning_rate"]
    assert runs[0].name == "no-anchor/trial-1"
    with pytest.raises(UserError, match="arm base: got 0 iterations"):
        trials_of(campaign, arms.named("base"))


def test_figures_are_those_of_validation_images(tmp_path: Path) -> None:
    """A project without known objects cannot be tuned, and says so."""
    path = tmp_path / "metrics/evaluate_policy/1.json"
    write_json(
        path, {"validation": {"chair_s": 20.0, "recall": 91.0}, "held_out": {"chair_s": 1.0, "recall": 1.0}}
    )
    assert read_figures(tmp_path, "1") == Figures(20.0, 91.0)
    write_json(path, {"validation": {"length": 20.0}})
    with pytest.raises(UserError, match=r"validation\.chair_s: got no such key"):
        read_figures(tmp_path, "1")


def test_tuned_values_are_what_was_recorded() -> None:
    """An arm whose tuning is recorded has the setting that was chosen, or the profile's own if that is the same.

    `shipped` is the profile, whatever the rule would choose for it.
    """
    assert not read_arms().named("shipped").tuned
    profile = load_params(Path(__file__).parents[2] / "params.yaml").model_dump()
    for path in (Path(__file__).parents[2] / "metrics/ablation").glob("*/tuning.json"):
        chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"]
        arm = read_arms().named(path.parent.name)
        for key, value in chosen.items() if arm.name != "shipped" else ():
            section, name = key.split(".")
            assert {**arm.changes, **arm.tuned}.get(key, profile[section][name]) == value, arm.name
