"""The summary as tables for plots: one per figure, with a row per policy and split, and one of the pairs' rewards.

    chair_s.csv       iteration,split,value,low,high
    pair_rewards.csv  iteration,answer,scorer,reward

Rows follow the summary's iterations, "base" first: the names are free text, so the axis keeps the order of the rows.
A value that does not exist is None.
"""

from collections.abc import Mapping

from csrdata.evaluation.scorecard import FIGURES
from csrdata.evaluation.summary import Summary

Row = Mapping[str, str | float | None]

PAIR_REWARDS = "pair_rewards"
"""The table of rewards; all others have the name of their figure."""

_REWARDS = {
    "chosen_reward": ("chosen", "search"),
    "rejected_reward": ("rejected", "search"),
    "chosen_reward_held_out": ("chosen", "held_out"),
    "rejected_reward_held_out": ("rejected", "held_out"),
}
"""The answer and the scorer of each mean reward in the summary's "pairs"."""


def plot_tables(summary: Summary) -> dict[str, list[Row]]:
    """Return all tables by name: each figure of `scorecard.FIGURES`, and `PAIR_REWARDS`."""
    tables = {name: figure_rows(summary, name) for name in FIGURES}
    return {**tables, PAIR_REWARDS: reward_rows(summary)}


def figure_rows(summary: Summary, name: str) -> list[Row]:
    """Return a figure's value and interval for each policy on each split, the splits sorted by name."""
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
        for split, policies in sorted(summary.splits.items())
    ]


def reward_rows(summary: Summary) -> list[Row]:
    """Return the mean reward of chosen and rejected answers, by each scorer, for each iteration that has pairs."""
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
    ]
