"""Rewards of the sentences of many trees at once: what `csrdata.search.reward` computes tree by tree, equal to the last bit.

The functions take one flat array for all trees, and `trees`, which says where each tree begins. Sums are rounded once, as
those of `math.fsum`; exponentials and squares are those of `math`, because numpy's may differ in the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csrdata.search.reward import Aggregate, Scale

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Groups:
    """Consecutive groups of a flat array."""

    starts: Integers
    """Index of the first value of each group, [G]."""
    sizes: Integers
    """Number of values of each group, [G]; may be 0."""

    def numbers(self) -> Integers:
        """Return the group of each value, [N]."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @staticmethod
    def of(sizes: Integers) -> "Groups":
        return Groups(np.cumsum(sizes) - sizes, sizes)


class Sums:
    """Sums that grow by one value each at a time and are rounded once: value, error, and error of the error."""

    def __init__(self, count: int) -> None:
        self._high, self._low, self._rest = np.zeros(count), np.zeros(count), np.zeros(count)

    def add(self, values: Floats, where: Integers | slice = slice(None)) -> None:
        """Add `values` to the sums at `where`, which has no index twice."""
        high, error = _two_sum(self._high[where], values)
        low, rest = _two_sum(self._low[where], error)
        self._high[where], self._low[where] = high, low
        self._rest[where] += rest

    def rounded(self) -> Floats:
        """Return the sums."""
        return self._high + (self._low + self._rest)


def _two_sum(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Return the rounded sum and its error: together they are the exact sum (Knuth, TAOCP 2, 4.2.2)."""
    total = one + other
    part = total - one
    return total, (one - (total - part)) + (other - part)


def sums(values: Floats, groups: Groups) -> Floats:
    """Return the sum of each group, [G], rounded once; 0 for an empty group."""
    found = Sums(len(groups.sizes))
    for place in range(int(groups.sizes.max(initial=0))):
        longer = np.flatnonzero(groups.sizes > place)
        if len(longer) == len(groups.sizes):
            found.add(values[groups.starts + place])
        else:
            found.add(values[groups.starts[longer] + place], longer)
    return found.rounded()


def means(values: Floats, groups: Groups) -> Floats:
    """Return the mean of each group, [G]; 0 for an empty group."""
    return sums(values, groups) / np.maximum(groups.sizes, 1)


def without_gaps(values: Floats, groups: Groups) -> Floats:
    """Return values in which NaN is the mean of the others of its group, as `csrdata.search.reward.without_gaps` does."""
    known = ~np.isnan(values)
    if known.all():
        return values
    numbers = groups.numbers()
    others = Groups.of(np.bincount(numbers[known], minlength=len(groups.sizes)))
    return np.where(known, values, means(values[known], others)[numbers])


@dataclass(frozen=True, slots=True)
class Components:
    """The two terms of equation 4 for N sentences, raw."""

    logprobs: Floats
    tokens: Integers
    relevances: Floats
    """0..100, without gaps; 0 for repetitions."""
    parents: Integers
    """The sentence before each, by a number that is unique within the tree."""
    trees: Groups

    def on_scale(self, scale: str) -> tuple[Floats, Floats]:
        """Return the image term and the language term on a scale, [N] each; see `csrdata.search.reward.calibrate`.

        Raises:
            ValueError: the scale is `mean_log`.
        """
        match Scale(scale):
            case Scale.RAW:
                return self.relevances, _exp(self.logprobs)
            case Scale.UNIT:
                return self.relevances / 100, _exp(self.logprobs)
            case Scale.GEOMETRIC:
                return self.relevances / 100, _exp(self.logprobs / self.tokens)
            case Scale.MEAN_LOG:
                raise ValueError("the scale mean_log has no image term")
            case Scale.RANK:
                return _midranks(self.relevances, self.trees), _midranks(self.logprobs, self.trees)
            case Scale.ZSCORE:
                return _standardised(self.relevances, self.trees), _standardised(self.logprobs, self.trees)
            case Scale.SIBLING_RANK:
                return self._sibling_ranks(self.relevances), self._sibling_ranks(self.logprobs / self.tokens)

    def _sibling_ranks(self, values: Floats) -> Floats:
        table = pl.DataFrame({"value": -values, "tree": self.trees.numbers(), "parent": self.parents})
        rank = pl.col("value").rank("ordinal").cast(pl.Float64)
        found = table.select((-rank / pl.len()).over("tree", "parent"))
        return found.to_series().to_numpy()


def _exp(values: Floats) -> Floats:
    return np.fromiter(map(math.exp, values.tolist()), dtype=np.float64, count=len(values))


def _squared(values: Floats) -> Floats:
    return np.fromiter(map(math.pow, values.tolist(), repeat(2.0)), dtype=np.float64, count=len(values))


def _midranks(values: Floats, trees: Groups) -> Floats:
    table = pl.DataFrame({"value": values, "tree": trees.numbers()})
    ranks = table.select(pl.col("value").rank("average").over("tree")).to_series().to_numpy()
    others = (trees.sizes - 1)[trees.numbers()]
    return np.where(others > 0, (ranks - 1) / np.maximum(others, 1), 0.5)


def _standardised(values: Floats, trees: Groups) -> Floats:
    numbers = trees.numbers()
    centred = values - means(values, trees)[numbers]
    deviations = np.sqrt(sums(_squared(centred), trees) / np.maximum(trees.sizes, 1))
    constant = deviations < 1e-12
    return np.where(constant[numbers], 0.0, centred / np.where(constant, 1.0, deviations)[numbers])


def aggregated(rewards: Sequence[Floats], counts: Integers, how: str) -> Floats:
    """Return the rewards of answers, [A], as `csrdata.search.reward.aggregate` combines those of their sentences.

    Args:
        rewards: of one sentence of each answer, then of another one, and so on, [A] each; 0 without a sentence.
        counts: sentences of each answer, [A].
        how: an `Aggregate`.
    """
    if len(rewards) <= 2:
        total = sum(rewards, np.zeros(len(counts)))
    else:
        found = Sums(len(counts))
        for values in rewards:
            found.add(values)
        total = found.rounded()
    match Aggregate(how):
        case Aggregate.SUM:
            return total
        case Aggregate.MEAN:
            return np.divide(total, np.maximum(counts, 1), dtype=np.float64)
        case Aggregate.MEAN_PLUS_ONE:
            return np.divide(total, counts + 1, dtype=np.float64)
