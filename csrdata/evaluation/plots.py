"""The summary as tables for plots: one per figure, with a row per policy and split; the pairs' rewards; recall curves.

    chair_s.csv       iteration,split,value,low,high
    pair_rewards.csv  iteration,answer,scorer,reward
    recall_curve.csv  iteration,split,bias,recall,chair_s

Rows follow the summary's iterations, "base" first: the names are free text, so the axis keeps the order of the rows.
A value that does not exist is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from csrdata.evaluation.scorecard import FIGURES
from csrdata.evaluation.summary import EqualRecall, Summary

Row = Mapping[str, str | float | None]


@dataclass(frozen=True, slots=True)
class Table:
    """A table for a plot. Its columns are there even if it has no rows."""

    columns: Sequence[str]
    rows: Sequence[Row]


PAIR_REWARDS = "pair_rewards"
"""The table of rewards."""
RECALL_CURVE = "recall_curve"
"""The table of hallucination against recall, a row per end-of-sequence bias; all others have the name of their figure."""

_REWARDS = {
    "chosen_reward": ("chosen", "search"),
    "rejected_reward": ("rejected", "search"),
    "chosen_reward_held_out": ("chosen", "held_out"),
    "rejected_reward_held_out": ("rejected", "held_out"),
}
"""The answer and the scorer of each mean reward in the summary's "pairs"."""

FIGURE_COLUMNS = ("iteration", "split", "value", "low", "high")
REWARD_COLUMNS = ("iteration", "answer", "scorer", "reward")
CURVE_COLUMNS = ("iteration", "split", "bias", "recall", "chair_s")


DRAWN = ("chair_s", "recall", "length", "relevance_held_out", "pope_accuracy")
"""The figures that dvc.yaml draws: their tables are there even if nothing was measured."""


def plot_tables(summary: Summary) -> dict[str, list[Row]]:
    """Return all tables by name: each figure that a split has, those of `DRAWN`, `PAIR_REWARDS`, and measured curves."""
    measured = {
        name for split in summary.splits.values() for policy in split.values() for name in policy.figures
    }
    tables = {name: figure_rows(summary, name) for name in FIGURES if name in measured or name in DRAWN}
    curves = (
        {}
        if summary.equal_recall is None
        else {RECALL_CURVE: curve_rows(summary.equal_recall, summary.iterations)}
    )
    return {**tables, PAIR_REWARDS: reward_rows(summary), **curves}


def figure_rows(summary: Summary, name: str) -> list[Row]:
    """Return a figure's value and interval for each policy on each split, the splits sorted by name.

    Splits without the figure are left out; if no split has it, all rows are there with None.
    """
    having = {
        split: policies
        for split, policies in summary.splits.items()
        if any(name in policy.figures for policy in policies.values())
    }
    return [
        {
            "iteration": iteration,
            "split": split,
            **{
                key: getattr(policies[iteration].figures.get(name), key, None)
                for key in ("value", "low", "high")
            },
        }
        for iteration in summary.iterations
        for split, policies in sorted((having or summary.splits).items())
    ]


def reward_rows(summary: Summary) -> list[Row]:
    """Return the mean reward of chosen and rejected answers, by each scorer, for each iteration that has pairs.

    A scorer without any reward is left out, unless neither has one.
    """
    known = {
        name for entry in summary.pairs.values() for name in _REWARDS if getattr(entry, name) is not None
    }
    return [
        {
            "iteration": iteration,
            "answer": answer,
            "scorer": scorer,
            "reward": getattr(summary.pairs[iteration], name),
        }
        for iteration in summary.iterations
        if iteration in summary.pairs
        for name, (answer, scorer) in _REWARDS.items()
        if name in known or not known
    ]


def curve_rows(found: EqualRecall, policies: Sequence[str]) -> list[Row]:
    """Return recall and CHAIR_S at each bias, for each of the policies in their order, the splits sorted by name."""
    return [
        {"iteration": name, "split": split, **asdict(point)}
        for name in policies
        for split, points in sorted(found.policies[name].curve.items())
        for point in points
    ]
