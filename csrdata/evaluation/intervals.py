"""How certain a figure is: bootstrap intervals over images, and a paired test against the base.

Every figure is a ratio of sums over images; a mean is such a ratio with denominators of 1. The image is the unit that
is resampled, whatever is counted in it, because mentions, sentences or questions of one image are not independent.

The test is a paired permutation test. If an iteration had changed nothing, the two outcomes of an image could be
swapped between the base and the iteration. The test therefore swaps the outcomes of each image with probability 1/2
and computes the difference of the two ratios again. It is valid for any sample size, assumes no distribution, and,
unlike a sign-flip of differences, it holds for ratios of sums. A paired bootstrap would be only approximate where
figures are near 0 or 100. With k of n resampled differences at least as large as the observed one, p = (1 + k) / (1 +
n), which is never 0.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FLIPS = 20_000
"""Random swaps of a test; the smallest p-value is 1 / (1 + FLIPS)."""
_CELLS = 4_000_000
"""Limit of resamples times images that are held in memory at once."""
_ULPS = 1e-9
"""Differences this close are ties: they come from another order of summation."""


@dataclass(frozen=True, eq=False)
class Ratio:
    """A figure: `scale` * sum(numerators) / sum(denominators), one entry per image."""

    numerators: Numbers
    """[images]."""
    denominators: Numbers
    """[images], >= 0."""
    scale: float = 1.0
    """100 for a percentage."""

    def grouped(self, groups: Sequence[int], *, count: int) -> "Ratio":
        """Return the ratio with the entries of a group added up: several answers about one image are one entry.

        Args:
            groups: the group of each entry, 0..count-1.
            count: number of groups; one without entries has a denominator of 0.
        """
        index = np.asarray(groups, dtype=np.int64)
        above, below = np.zeros(count), np.zeros(count)
        np.add.at(above, index, self.numerators)
        np.add.at(below, index, self.denominators)
        return Ratio(above, below, self.scale)

    @property
    def value(self) -> float | None:
        """The figure; None if the denominators add up to 0."""
        below = float(self.denominators.sum())
        return self.scale * float(self.numerators.sum()) / below if below else None


@dataclass(frozen=True)
class Figure:
    """A figure with its interval, and the p-value of its difference from the base."""

    value: float | None
    low: float | None
    high: float | None
    p_vs_base: float | None
    """Two-sided, 0 < p <= 1; None for the base itself, or if one of the two figures does not exist."""


def ratio(numerators: Sequence[float], denominators: Sequence[float], *, scale: float = 1.0) -> Ratio:
    """Return a ratio from one numerator and one denominator per image, both [images]."""
    return Ratio(np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64), scale)


def percentage(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Return a ratio as a percentage, 0..100."""
    return ratio(numerators, denominators, scale=100.0)


def mean(values: Sequence[float]) -> Ratio:
    """Return the mean over images as a ratio."""
    return ratio(values, [1.0] * len(values))


def figures(
    ratios: Mapping[str, Ratio],
    base: Mapping[str, Ratio] | None,
    *,
    resamples: int,
    confidence: float,
    seed: int,
    flips: int = FLIPS,
) -> dict[str, Figure]:
    """Return each ratio with its interval, and with its test against the base's ratio of the same name.

    Args:
        ratios: M ratios over the same N images, in the same order.
        base: the base's ratios over the same images, in the same order; None for the base itself. A ratio that the base
            lacks has no test.
        resamples: number of bootstrap samples for the intervals.
        confidence: of the intervals, percent: 95 takes the percentiles 2.5 and 97.5.
        seed: equal seeds draw the same samples.
        flips: random swaps of the test.
    """
    names = list(ratios)
    low, high = _intervals(
        [ratios[name] for name in names], resamples=resamples, confidence=confidence, seed=seed
    )
    against = [None if base is None else base.get(name) for name in names]
    chances = paired_tests([ratios[name] for name in names], against, resamples=flips, seed=seed)
    return {
        name: Figure(ratios[name].value, low[index], high[index], chances[index])
        for index, name in enumerate(names)
    }


def seed_for(seed: int, split: str) -> int:
    """Derive a split's own seed: no split's figures depend on which others there are."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{split}".encode(), digest_size=8).digest(), "big")


def resampled(ratios: Sequence[Ratio], *, resamples: int, seed: int) -> tuple[Numbers, Numbers]:
    """Return the sums of M ratios over images drawn with replacement, [resamples, M] each: numerators and denominators.

    The numerators are multiplied by `scale`. All ratios use the same draws; draw r of two calls with equal seeds and equally
    many images is the same draw.
    """
    above, below = _columns(ratios)
    images = len(above)
    rng = np.random.default_rng([seed, 0])
    chances = np.full(images, 1 / images)
    drawn = [
        (weights @ above, weights @ below)
        for size in _chunks(resamples, images)
        for weights in [rng.multinomial(images, chances, size=size).astype(np.float64)]
    ]
    return np.concatenate([one for one, _ in drawn]), np.concatenate([one for _, one in drawn])


def quantiles(values: Numbers, *, confidence: float) -> tuple[float | None, float | None]:
    """Return both bounds of a percentile interval, from the draws [resamples] in which the figure exists, not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None, None
    tail = (100 - confidence) / 200
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def paired_tests(
    ratios: Sequence[Ratio], base: Sequence[Ratio | None], *, resamples: int, seed: int
) -> list[float | None]:
    """Return the two-sided p-value of each ratio's difference from another one, from random swaps of the images' outcomes.

    Args:
        ratios: M ratios over the same N images.
        base: what each of them is tested against, over the same images in the same order; None: no test.
        resamples: number of swaps of all images.
        seed: equal seeds draw the same swaps.

    Returns:
        M numbers, 0 < p <= 1; None where there is nothing to test against, or one of the two figures does not exist.
    """
    tested = [index for index, other in enumerate(base) if _has_values(ratios[index], other)]
    chances: list[float | None] = [None] * len(ratios)
    if not tested:
        return chances
    above, below = _columns([ratios[index] for index in tested])
    base_above, base_below = _columns([other for index in tested if (other := base[index]) is not None])
    observed = np.abs(_difference(above.sum(0), below.sum(0), base_above.sum(0), base_below.sum(0)))
    reached = np.zeros(len(tested), dtype=np.int64)
    rng = np.random.default_rng([seed, 1])
    for size in _chunks(resamples, len(above)):
        swap = rng.integers(0, 2, size=(size, len(above))).astype(np.float64)
        moved_above, moved_below = swap @ (base_above - above), swap @ (base_below - below)
        flipped = _difference(
            above.sum(0) + moved_above,
            below.sum(0) + moved_below,
            base_above.sum(0) - moved_above,
            base_below.sum(0) - moved_below,
        )
        # A swap with a denominator of 0 gives NaN, which is not smaller: it raises p, the cautious side.
        smaller = np.abs(flipped) < observed * (1 - _ULPS) - _ULPS
        reached += (~smaller).sum(0)
    for position, index in enumerate(tested):
        chances[index] = float(1 + reached[position]) / (1 + resamples)
    return chances


def divide(above: Numbers, below: Numbers) -> Numbers:
    """Divide; NaN where the denominator is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _intervals(
    ratios: Sequence[Ratio], *, resamples: int, confidence: float, seed: int
) -> tuple[list[float | None], list[float | None]]:
    """Return percentile intervals over images drawn with replacement; all ratios use the same draws."""
    if not len(ratios[0].numerators):
        return [None] * len(ratios), [None] * len(ratios)
    values = divide(*resampled(ratios, resamples=resamples, seed=seed))
    bounds = [quantiles(values[:, index], confidence=confidence) for index in range(len(ratios))]
    return [low for low, _ in bounds], [high for _, high in bounds]


def _has_values(own: Ratio, other: Ratio | None) -> bool:
    return other is not None and own.value is not None and other.value is not None


def _difference(above: Numbers, below: Numbers, base_above: Numbers, base_below: Numbers) -> Numbers:
    return divide(above, below) - divide(base_above, base_below)


def _columns(ratios: Sequence[Ratio]) -> tuple[Numbers, Numbers]:
    """Return scaled numerators and denominators of M ratios, [images, M] each."""
    above = np.stack([ratio.scale * ratio.numerators for ratio in ratios], axis=1)
    return above, np.stack([ratio.denominators for ratio in ratios], axis=1)


def _chunks(resamples: int, images: int) -> list[int]:
    """Split the resamples into chunks whose weights fit in memory; the draws do not depend on the split."""
    size = max(1, _CELLS // max(1, images))
    return [min(size, resamples - start) for start in range(0, resamples, size)]
