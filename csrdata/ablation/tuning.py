"""Choose an arm's settings on validation images by the one rule of the arms file, the same for every arm.

Each setting of the grid is one iteration with one seed. Chosen is the lowest CHAIR_S at the base's recall, by which arms are
compared, too; without any, the highest recall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
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
REACHED = ("evaluate_base", "match_base", "evaluate_policy@1", "match_recall@1")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a policy, percent, on validation images."""

    chair_s: float
    recall: float
    chair_s_at_recall: float | None
    """None where no bias gives the base's recall."""


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
    plain = Figures(found["chair_s"].number(), found["recall"].number(), None)
    path = project / paths.stage_metrics("match_recall", policy)
    matched = open_json(path, made_by="dvc repro").items(needs=("at_recall",))["at_recall"].items()
    if SPLIT not in matched:
        return plain
    return replace(plain, chair_s_at_recall=matched[SPLIT].items(needs=("chair_s",))["chair_s"].number())


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the trial that the rule chooses, of one or more; of equal ones the first."""
    matched = [(value, one) for one in trials if (value := one.figures.chair_s_at_recall) is not None]
    if matched:
        return min(matched, key=lambda pair: pair[0])[1]
    return max(trials, key=lambda one: one.figures.recall)


def write_record(path: Path, trials: Sequence[Trial], base: Figures, *, revision: str | None) -> Trial:
    """Write what was tried and what was chosen, and return the choice."""
    chosen = choose(trials)
    record = {
        "split": SPLIT,
        "seed": SEEDS[0],
        "iterations": 1,
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
        figures = {name: value.number_or_none() for name, value in values.items() if name != "changes"}
        trials.append(Trial(_settings(values["changes"]), Figures(**figures)))  # type: ignore[arg-type]
    return Tuned(tuple(trials), _settings(entries["chosen"]))


def _settings(value: JsonValue) -> dict[str, Any]:
    return {key: one.value for key, one in value.items().items()}
