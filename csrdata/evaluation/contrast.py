"""Figures of one side with intervals, and two sides compared: clustered, paired, corrected, with effect size and power.

**The unit is the image.** A side is one table of figures for each seed; a figure is made of ratios of sums over images
(`csrdata.evaluation.intervals.Ratio`): a ratio itself, or a formula of several, such as the mean of a rate and an F1. All
sides have the same images in the same order.

**Intervals** are percentiles of a bootstrap over images. With several seeds, seeds and images are both drawn with
replacement, independently of each other (the pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122). The interval of a
difference uses the same draws for both sides.

**The test** swaps the outcomes of each image, those of all seeds together, between the two sides with probability 1/2
(`csrdata.evaluation.intervals` says why). It says whether the answers differ on images, not whether other seeds would. All
tests of a table are corrected together (Holm).

**The effect** is Cohen's d_z: the difference divided by the standard deviation, over images, of each image's share in it.
For a formula of ratios that share is its influence (the delta method: gradient times the residual of each ratio).

**Power.** With that standard deviation s, a two-sided test at level a finds a true difference d with probability p on

    n = ceil(((z(1 - a/2) + z(p)) * s / d) ** 2)   images

(the normal approximation of a paired test; Chow et al., Sample Size Calculations in Clinical Research, section 3.2).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from csrdata.evaluation.holm import SIGNIFICANT, holm
from csrdata.evaluation.intervals import FLIPS, Figure, Numbers, Ratio, divide, quantiles, resampled

POWER = 0.8
"""The probability with which a test is to find a difference."""
MOST_MISSING = 0.05
"""A figure that does not exist in more of the draws has no interval: the others would be a selection."""
_CHUNK = 500
"""Swaps of all images that are held in memory at once."""
_ULPS = 1e-9
"""Differences this close are ties."""
_STEP = 1e-5
"""Of a numerical derivative."""


@dataclass(frozen=True, eq=False)
class Formula:
    """A figure that is computed from several ratios over the same images."""

    parts: tuple[Ratio, ...]
    combine: Callable[[Numbers], Numbers]
    """From the values of the parts, [..., parts], to the figure, [...]; NaN where a part is NaN."""

    @property
    def value(self) -> float | None:
        """The figure; None if a part does not exist."""
        values = [part.value for part in self.parts]
        if any(value is None for value in values):
            return None
        found = float(self.combine(np.asarray(values, dtype=np.float64)))
        return None if math.isnan(found) else found


Measured = Mapping[str, Ratio | Formula]
"""One seed's figures by name; the images are the rows."""
BySeed = Mapping[int, Measured]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One figure of two sides, B against A."""

    a: float | None
    b: float | None
    difference: float | None
    """B - A."""
    low: float | None
    high: float | None
    """Of the difference."""
    p: float | None
    """Two-sided, uncorrected, 0 < p <= 1."""
    p_holm: float | None
    """Corrected over the table."""
    effect: float | None
    """Cohen's d_z over images; None where no image differs from another."""
    spread: float | None
    """The standard deviation of an image's share in the difference, in the unit of the figure."""
    by_seed: tuple[float | None, ...]
    """The difference of each seed, in the order of the seeds."""


def with_intervals(
    side: Measured, *, resamples: int, confidence: float, seed: int
) -> dict[str, tuple[float | None, float | None, float | None]]:
    """Return value, lower and upper bound of each figure.

    Args:
        side: figures over the same images.
        resamples: bootstrap samples.
        confidence: percent.
        seed: equal seeds draw the same samples.
    """
    drawn = _draws({0: side}, list(side), resamples=resamples, seed=seed)
    found = {}
    for index, (name, figure) in enumerate(side.items()):
        found[name] = (figure.value, *_bounds(drawn[:, index], confidence=confidence))
    return found


def contrasts(
    a: BySeed, b: BySeed, *, resamples: int, confidence: float, seed: int, flips: int = FLIPS
) -> dict[str, Contrast]:
    """Return the figures that both sides have, in the order of `a`, each with its test; not yet corrected over a table.

    Args:
        a, b: by seed; the seeds that both have are compared, and there must be one. All have the same images in one order.
        resamples: bootstrap samples of the interval.
        confidence: percent.
        seed: equal seeds draw the same samples and swaps.
        flips: random swaps of the test.

    Raises:
        ValueError: no seed is common, or the images differ in number.
    """
    seeds = [one for one in a if one in b]
    if not seeds:
        raise ValueError("the two sides have no common seed")
    own, other = ({one: side[one] for one in seeds} for side in (a, b))
    names = [
        name for name in own[seeds[0]] if all(name in side[one] for side in (own, other) for one in seeds)
    ]
    if (
        len({len(part.numerators) for side in (own, other) for one in side.values() for part in _parts(one)})
        > 1
    ):
        raise ValueError("a paired test needs both sides on the same images")
    if not names:
        return {}
    first, second = (_pooled(side, names) for side in (own, other))
    drawn = [_draws(side, names, resamples=resamples, seed=seed) for side in (own, other)]
    chances = _swapped(first, second, names, flips=flips, seed=seed)
    found = {}
    for index, name in enumerate(names):
        low, high = _bounds(drawn[1][:, index] - drawn[0][:, index], confidence=confidence)
        difference = _minus(second[name].value, first[name].value)
        spread = _spread(first[name], second[name]) if difference is not None else None
        found[name] = Contrast(
            a=first[name].value,
            b=second[name].value,
            difference=difference,
            low=low,
            high=high,
            p=chances[name],
            p_holm=None,
            effect=None if not spread or difference is None else difference / spread,
            spread=spread,
            by_seed=tuple(_minus(other[one][name].value, own[one][name].value) for one in seeds),
        )
    return found


def corrected(table: Mapping[str, Contrast]) -> dict[str, float | None]:
    """Return the p-values of a table, corrected together (Holm); a test that could not be made stays a member."""
    return holm({name: one.p for name, one in table.items()})


def images_needed(spread: float, points: float, *, level: float = SIGNIFICANT, power: float = POWER) -> int:
    """Return how many images a paired test needs to find a difference.

    Args:
        spread: standard deviation of an image's share in the difference, above 0; see `Contrast.spread`.
        points: the true difference, not 0, in the same unit.
        level: two-sided, 0..1.
        power: probability to find it, 0..1.

    Example: spread 50, points 2 -> 4906 (z of 0.975 and 0.8: 1.960 + 0.842)
    """
    reach = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)
    return max(2, math.ceil((reach * spread / points) ** 2))


def influence(figure: Ratio | Formula) -> Numbers:
    """Return each image's share in a figure's deviation, [images]: its variance over images is N times the figure's."""
    if isinstance(figure, Ratio):
        below = figure.denominators.mean()
        residual = (
            figure.numerators - figure.numerators.sum() / figure.denominators.sum() * figure.denominators
        )
        shares: Numbers = figure.scale * residual / below
        return shares
    at = np.asarray([part.value for part in figure.parts], dtype=np.float64)
    step = np.eye(len(at)) * _STEP
    gradient = (figure.combine(at + step) - figure.combine(at - step)) / (2 * _STEP)
    total: Numbers = sum(
        (slope * influence(part) for slope, part in zip(gradient, figure.parts, strict=True))
    )
    return total


def entries(figure: Ratio | Formula) -> tuple[Ratio, ...]:
    """Return the ratios that a figure is made of."""
    return (figure,) if isinstance(figure, Ratio) else figure.parts


def _parts(side: Measured) -> list[Ratio]:
    return [part for figure in side.values() for part in entries(figure)]


def _combined(side: Measured, names: Sequence[str], values: Numbers) -> Numbers:
    """Return the figures from the values of all their parts, [..., parts] -> [..., figures]."""
    found, start = [], 0
    for name in names:
        figure = side[name]
        own = values[..., start : start + len(entries(figure))]
        found.append(own[..., 0] if isinstance(figure, Ratio) else figure.combine(own))
        start += len(entries(figure))
    return np.stack(found, axis=-1)


def _pooled(side: BySeed, names: Sequence[str]) -> dict[str, Ratio | Formula]:
    """Return the figures over all seeds: numerators and denominators of an image are added up."""

    def added(ratios: Sequence[Ratio]) -> Ratio:
        above = np.sum([one.numerators for one in ratios], axis=0)
        return Ratio(above, np.sum([one.denominators for one in ratios], axis=0), ratios[0].scale)

    every = list(side.values())
    found: dict[str, Ratio | Formula] = {}
    for name in names:
        columns = zip(*(entries(one[name]) for one in every), strict=True)
        parts = tuple(added(column) for column in columns)
        first = every[0][name]
        found[name] = parts[0] if isinstance(first, Ratio) else Formula(parts, first.combine)
    return found


def _draws(side: BySeed, names: Sequence[str], *, resamples: int, seed: int) -> Numbers:
    """Return the figures of each draw, [resamples, figures]; NaN where one does not exist."""
    first = next(iter(side.values()))
    sums = [
        resampled(_parts({name: one[name] for name in names}), resamples=resamples, seed=seed)
        for one in side.values()
    ]
    if len(sums) == 1:
        return _combined(first, names, divide(*sums[0]))
    weights = np.random.default_rng([seed, 2]).multinomial(
        len(sums), [1 / len(sums)] * len(sums), size=resamples
    )
    above, below = (
        np.sum([weights[:, [index]] * one[part] for index, one in enumerate(sums)], axis=0) for part in (0, 1)
    )
    return _combined(first, names, divide(above, below))


def _swapped(
    first: Measured, second: Measured, names: Sequence[str], *, flips: int, seed: int
) -> dict[str, float | None]:
    """Return the two-sided p-value of each figure's difference from random swaps of the images' outcomes."""
    columns = []
    for side in (first, second):
        parts = _parts({name: side[name] for name in names})
        above = np.stack([part.scale * part.numerators for part in parts], axis=1)
        columns.append((above, np.stack([part.denominators for part in parts], axis=1)))
    (above, below), (more, less) = columns

    def difference(moved_above: Numbers, moved_below: Numbers) -> Numbers:
        a = divide(above.sum(0) + moved_above, below.sum(0) + moved_below)
        b = divide(more.sum(0) - moved_above, less.sum(0) - moved_below)
        return np.abs(_combined(second, names, b) - _combined(first, names, a))

    nothing = np.zeros((1, above.shape[1]))
    observed = difference(nothing, nothing)[0]
    reached, rng, left = np.zeros(len(names)), np.random.default_rng([seed, 1]), flips
    while left:
        size = min(_CHUNK, left)
        swap = rng.integers(0, 2, size=(size, len(above))).astype(np.float64)
        flipped = difference(swap @ (more - above), swap @ (less - below))
        # A swap in which a figure does not exist gives NaN, which is not smaller: it raises p, the cautious side.
        reached += (~(flipped < observed * (1 - _ULPS) - _ULPS)).sum(0)
        left -= size
    return {
        name: None if np.isnan(observed[index]) else float((1 + reached[index]) / (1 + flips))
        for index, name in enumerate(names)
    }


def _spread(a: Ratio | Formula, b: Ratio | Formula) -> float | None:
    """Return the standard deviation of an image's share in the difference; None with fewer than two images."""
    shares = influence(b) - influence(a)
    return float(shares.std(ddof=1)) if len(shares) > 1 else None


def _bounds(values: Numbers, *, confidence: float) -> tuple[float | None, float | None]:
    if np.isnan(values).mean() > MOST_MISSING:
        return None, None
    return quantiles(values, confidence=confidence)


def _minus(b: float | None, a: float | None) -> float | None:
    return None if a is None or b is None else b - a


def as_figure(found: tuple[float | None, float | None, float | None]) -> Figure:
    """Return a figure without a test from `with_intervals`."""
    return Figure(*found, None)
