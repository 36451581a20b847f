"""CHAIR_S at the base's recall, from counts: `csrdata.evaluation.equal_recall` for a table of several runs.

A policy is asked at several biases on end-of-sequence. Kept are, at each bias, which descriptions name an absent object, on
all splits, and how many present objects are named, on the split on which the bias is set. That is all that the figure
and the bootstrap over the whole procedure need: a draw finds the bias again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrdata.ablation.counts import Column, Counts, decode, encode
from csrdata.evaluation.equal_recall import Curve, at_match, crossings, match
from csrdata.evaluation.intervals import Numbers, Ratio, divide, percentage, resampled, seed_for
from csrdata.storage.json_values import JsonValue

CHAIR_S, RECALL = "chair_s", "recall"


@dataclass(frozen=True, slots=True)
class EndCurve:
    """A policy at several biases, one entry per image in each column."""

    split: str
    """On which the bias is set."""
    biases: tuple[float, ...]
    """Nats, ascending."""
    false: Mapping[str, tuple[Column, ...]]
    """By split, at each bias: descriptions that name an absent object."""
    named: tuple[Column, ...]
    """On the setting split, at each bias: distinct present objects that are named."""

    def as_json(self) -> dict[str, object]:
        """Return the curve with each column as text."""
        return {
            "split": self.split,
            "biases": list(self.biases),
            "false": {split: list(map(encode, columns)) for split, columns in self.false.items()},
            "named": list(map(encode, self.named)),
        }


def read_curve(value: JsonValue) -> EndCurve:
    """Return the curve that `EndCurve.as_json` wrote.

    Raises:
        UserError: a part is missing or damaged, or there is no column for a bias.
    """
    parts = value.fields("split", "biases", "false", "named")
    biases = tuple(one.number() for one in parts["biases"].array())
    return EndCurve(
        split=parts["split"].text(),
        biases=biases,
        false={split: _columns(one, len(biases)) for split, one in parts["false"].items().items()},
        named=_columns(parts["named"], len(biases)),
    )


def ratio_at_recall(curve: EndCurve, counts: Mapping[str, Counts], base: Counts, split: str) -> Ratio | None:
    """Return CHAIR_S of a policy on a split at the bias that gives it the base's recall; None if no bias does.

    Args:
        curve: the policy's.
        counts: its plain counts by split: how many descriptions and present objects there are.
        base: the base's plain counts on the setting split.
        split: to measure on.
    """
    place = match(_recalls(curve, counts), base.ratios()[RECALL].value)
    return None if place is None else at_match(_chairs(curve, counts, split), place)[CHAIR_S]


def draw_at_recall(
    curve: EndCurve,
    counts: Mapping[str, Counts],
    base: Counts,
    split: str,
    *,
    resamples: int,
    seed: int,
) -> tuple[Numbers, Numbers]:
    """Return numerators and denominators of CHAIR_S in draws of the whole procedure, [resamples] each; NaN without a bias.

    Args:
        curve, counts, base, split: as in `ratio_at_recall`.
        resamples: draws of the images.
        seed: with a split's name it gives the split's draws.
    """
    recalls = _recalls(curve, counts).ratios[RECALL]
    above, below = resampled(
        [*recalls, base.ratios()[RECALL]], resamples=resamples, seed=seed_for(seed, curve.split)
    )
    values = divide(above, below)
    places, shares = crossings(curve.biases, values[:, :-1], values[:, -1])
    chairs = _chairs(curve, counts, split).ratios[CHAIR_S]
    sums = resampled(chairs, resamples=resamples, seed=seed_for(seed, split))
    rows, after = np.arange(resamples), np.minimum(places + 1, len(curve.biases) - 1)
    mixed = [(1 - shares) * one[rows, places] + shares * one[rows, after] for one in sums]
    return mixed[0], mixed[1]


def _recalls(curve: EndCurve, counts: Mapping[str, Counts]) -> Curve:
    present = counts[curve.split].present
    return _curve(curve, RECALL, [percentage(named, present) for named in curve.named])


def _chairs(curve: EndCurve, counts: Mapping[str, Counts], split: str) -> Curve:
    answers = counts[split].answers
    return _curve(curve, CHAIR_S, [percentage(false, answers) for false in curve.false[split]])


def _curve(curve: EndCurve, name: str, ratios: Sequence[Ratio]) -> Curve:
    return Curve(curve.biases, (), {name: tuple(ratios)})


def _columns(value: JsonValue, count: int) -> tuple[Column, ...]:
    columns: list[Column] = []
    for part in value.array():
        column = decode(part.text())
        if column is None or (columns and len(column) != len(columns[0])):
            part.refuse("one count per image")
        columns.append(column)
    if len(columns) != count:
        value.refuse("a column for each bias", got=f"{len(columns)} columns")
    return tuple(columns)
