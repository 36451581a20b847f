"""How certain figures at equal recall are: a bootstrap over the whole procedure, and a paired test at fixed biases.

The bias is estimated, so its uncertainty belongs in the interval. A draw of the bootstrap repeats everything that was done:
it draws images of the setting split with replacement, measures the recall of policy and base on them, finds the bias again,
draws images of the measured split, and measures the figure there at that bias. Where these splits are the same, both draws
are one. In some draws the base's recall is outside the policy's curve; they are counted, and if they are more than
`MOST_OUTSIDE` of all, there is no interval: the others would be a selection.

The test is that of `csrdata.evaluation.intervals`, with `FLIPS` random swaps: the outcomes of each image are swapped between
two policies, both at their biases. It says whether these two differ on images such as those of the measured split. It takes
the biases as given, so it does not cover how they were found; the interval does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csrdata.evaluation.equal_recall import Curve, Match, at_match, crossings, match, why_outside
from csrdata.evaluation.intervals import (
    FLIPS,
    Figure,
    Numbers,
    divide,
    paired_tests,
    quantiles,
    resampled,
    seed_for,
)
from csrdata.evaluation.scorecard import CURVE_FIGURES
from csrdata.evaluation.summary import BASE

MOST_OUTSIDE = 0.05
"""Largest share of draws without a bias for which an interval is given."""


@dataclass(frozen=True, slots=True)
class AtRecall:
    """One policy at the base's recall."""

    bias: float | None
    """Nats; None where the curve does not have the base's recall."""
    low: float | None
    """The bounds of the bias's interval; None without a bias, or if too many draws have none."""
    high: float | None
    outside: int
    """Draws without a bias."""
    reason: str | None
    """Why there is no bias, or no interval; None if there are both."""
    figures: Mapping[str, Mapping[str, Figure]]
    """By split, each of `CURVE_FIGURES`."""


def at_recall(
    curves: Mapping[str, Mapping[str, Curve]], *, split: str, resamples: int, confidence: float, seed: int
) -> dict[str, AtRecall]:
    """Return the figures of each policy at the base's recall, on all splits.

    Args:
        curves: by policy, then by split, all over the same images. The base's have one point, its answers at a bias of 0.
        split: the setting split.
        resamples: draws of the bootstrap.
        confidence: of the intervals, percent.
        seed: with a split's name it gives the split's draws, the same for all policies.

    Raises:
        ValueError: two policies' curves on one split are about other images.
    """
    drawn = {
        name: _draw({policy: own[name] for policy, own in curves.items()}, resamples, seed_for(seed, name))
        for name in curves[BASE]
    }
    target, targets = curves[BASE][split].values("recall")[0], drawn[split][BASE].recalls()[:, 0]
    found = {}
    for policy, own in curves.items():
        setting = own[split]
        place = match(setting, target)
        below, shares = crossings(setting.biases, drawn[split][policy].recalls(), targets)
        outside = int(np.isnan(shares).sum())
        bounded = place is not None and outside <= MOST_OUTSIDE * resamples
        points = np.asarray(setting.biases)
        after = np.minimum(below + 1, len(points) - 1)
        biases = points[below] + shares * (points[after] - points[below])
        low, high = quantiles(biases, confidence=confidence) if bounded else (None, None)
        found[policy] = AtRecall(
            bias=None if place is None else place.bias,
            low=low,
            high=high,
            outside=outside,
            reason=_reason(setting, target, place, outside=outside, resamples=resamples),
            figures={
                name: _figures(
                    curve,
                    place,
                    None if policy == BASE else curves[BASE][name],
                    drawn[name][policy].figures(below, shares) if bounded else None,
                    confidence=confidence,
                    seed=seed_for(seed, name),
                )
                for name, curve in own.items()
            },
        )
    return found


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The sums of one policy's ratios in R draws of one split's images: [R, figures, biases] each."""

    above: Numbers
    below: Numbers

    def recalls(self) -> Numbers:
        """Return the recall at each bias, percent, [R, biases]; NaN where it does not exist."""
        place = CURVE_FIGURES.index("recall")
        return divide(self.above[:, place], self.below[:, place])

    def figures(self, below: NDArray[np.int64], shares: Numbers) -> Numbers:
        """Return each draw's figures at its own place on the curve, [R, figures]; NaN where a draw has no place."""
        rows, after = np.arange(len(below)), np.minimum(below + 1, self.above.shape[2] - 1)

        def mixed(sums: Numbers) -> Numbers:
            one, other = sums[rows, :, below], sums[rows, :, after]
            return (1 - shares)[:, None] * one + shares[:, None] * other

        return divide(mixed(self.above), mixed(self.below))


def _draw(curves: Mapping[str, Curve], resamples: int, seed: int) -> dict[str, _Drawn]:
    """Return the sums of all policies' ratios on one split, in the same draws of its images."""
    if len({curve.images for curve in curves.values()}) > 1:
        raise ValueError("figures at equal recall need all policies' answers about the same images")
    ratios = [ratio for curve in curves.values() for name in CURVE_FIGURES for ratio in curve.ratios[name]]
    above, below = resampled(ratios, resamples=resamples, seed=seed)
    found, start = {}, 0
    for policy, curve in curves.items():
        shape = (resamples, len(CURVE_FIGURES), len(curve.biases))
        own = slice(start, start + len(CURVE_FIGURES) * len(curve.biases))
        found[policy] = _Drawn(above[:, own].reshape(shape), below[:, own].reshape(shape))
        start = own.stop
    return found


def _figures(
    curve: Curve,
    place: Match | None,
    base: Curve | None,
    drawn: Numbers | None,
    *,
    confidence: float,
    seed: int,
) -> dict[str, Figure]:
    """Return one policy's figures on one split, with their intervals and tests against the base."""
    if place is None:
        return dict.fromkeys(CURVE_FIGURES, Figure(None, None, None, None))
    ratios = at_match(curve, place)
    against = [None if base is None else base.ratios[name][0] for name in CURVE_FIGURES]
    chances = paired_tests([ratios[name] for name in CURVE_FIGURES], against, resamples=FLIPS, seed=seed)
    found = {}
    for position, (name, chance) in enumerate(zip(CURVE_FIGURES, chances, strict=True)):
        bounds = (None, None) if drawn is None else quantiles(drawn[:, position], confidence=confidence)
        found[name] = Figure(ratios[name].value, *bounds, chance)
    return found


def _reason(
    curve: Curve, target: float | None, place: Match | None, *, outside: int, resamples: int
) -> str | None:
    if place is None:
        return why_outside(curve, target)
    if outside > MOST_OUTSIDE * resamples:
        return f"no interval: {outside} of {resamples} draws have the base's recall outside the curve"
    return None
