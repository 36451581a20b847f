"""Choose an arm's settings on validation images by the one rule of the arms file, the same for every arm.

Each setting of the grid is one iteration with one seed. Chosen is the lowest CHAIR_S among those whose recall is at most
`recall_loss` points below the base's; if there is no such setting, the highest recall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from csrdata import paths
from csrdata.ablation.arms import SEEDS, Arm
from csrdata.ablation.projects import Campaign, Run
from csrdata.errors import UserError
from csrdata.storage.disk import write_json
from csrdata.storage.json_values import JsonValue, open_json

SPLIT = "validation"
ONE_ITERATION = {"iterations": {"1": {"previous": paths.BASE}}}
REACHED = ("evaluate_base", "evaluate_policy@1")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rule looks at, percent, on validation images."""

    chair_s: float
    recall: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting and what it gave."""

    changes: Mapping[str, Any]
    figures: Figures


def trials_of(campaign: Campaign, arm: Arm) -> list[Run]:
    """Return the tuning runs of an arm, numbered from 1.

    Raises:
        UserError: the arm trains nothing.
    """
    if arm.iterations == 0:
        expected = "an arm that trains: one iteration or more"
        raise UserError(f"arm {arm.name}", got="0 iterations", expected=expected, do="csrdata arms")
    grid = campaign.arms.tuning.trials()
    return [
        Run(arm, SEEDS[0], trial=number, changes=ONE_ITERATION | setting)
        for number, setting in enumerate(grid, start=1)
    ]


def read_figures(project: Path, policy: str) -> Figures:
    """Return a policy's figures on validation images.

    Raises:
        UserError: they are missing, or the truth about these images is unknown.
    """
    path = project / paths.stage_metrics("evaluate_policy", policy)
    metrics = open_json(path, made_by="dvc repro").items(needs=(SPLIT,))[SPLIT]
    found = metrics.items(needs=("chair_s", "recall"))
    return Figures(chair_s=found["chair_s"].number(), recall=found["recall"].number())


def choose(trials: Sequence[Trial], base: Figures, *, recall_loss: float) -> Trial:
    """Return the trial that the rule chooses; of equal ones the first.

    Args:
        trials: one or more.
        base: the base's figures.
        recall_loss: points of recall that a setting may be below the base.
    """
    near = [one for one in trials if one.figures.recall >= base.recall - recall_loss]
    if near:
        return min(near, key=lambda one: one.figures.chair_s)
    return max(trials, key=lambda one: one.figures.recall)


def write_record(
    path: Path, trials: Sequence[Trial], base: Figures, *, recall_loss: float, revision: str | None
) -> Trial:
    """Write what was tried and what was chosen, and return the choice."""
    chosen = choose(trials, base, recall_loss=recall_loss)
    record = {
        "split": SPLIT,
        "seed": SEEDS[0],
        "iterations": 1,
        "recall_loss": recall_loss,
        "base": asdict(base),
        "trials": [{"changes": dict(one.changes), **asdict(one.figures)} for one in trials],
        "chosen": dict(chosen.changes),
        "revision": revision,
    }
    write_json(path, record)
    return chosen


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was tried for an arm, and what was chosen."""

    trials: tuple[Trial, ...]
    chosen: Mapping[str, Any]


def read_record(path: Path) -> Tuned:
    """Return what `write_record` wrote.

    Raises:
        UserError: the file is damaged.
    """
    found = open_json(path, made_by=f"python -m csrdata.ablation tune {path.parent.name}")
    entries = found.items(needs=("trials", "chosen"))
    trials = []
    for entry in entries["trials"].array(of="trials"):
        values = entry.fields("changes", *(one.name for one in fields(Figures)))
        figures = {name: value.number() for name, value in values.items() if name != "changes"}
        trials.append(Trial(_settings(values["changes"]), Figures(**figures)))
    return Tuned(tuple(trials), _settings(entries["chosen"]))


def _settings(value: JsonValue) -> dict[str, Any]:
    return {key: one.value for key, one in value.items().items()}
