"""Compare arms over seeds and images: pooled figures, intervals with seeds as a separate level, and paired tests.

**Pooling.** The figure of an arm is a ratio of sums over its seeds and images. All seeds answer the same questions about
the same images; only the models and the training differ.

**Intervals.** With one seed, images are drawn with replacement. With several, seeds and images are both drawn with
replacement, independently of each other: the rows and columns of the table seed x image (the pigeonhole bootstrap, Owen
2007, doi:10.1214/07-AOAS122). Three seeds say little about the spread between seeds, so that each one's value is shown too.

**Tests.** As in `csrdata.evaluation.intervals`: the outcomes of an image are swapped between two arms with probability 1/2,
those of all seeds together. The test therefore says whether the trained models differ on images, not whether the two
arms would differ with other seeds. Both arms are pooled over the seeds that both have. All tests of a table are
corrected together (Holm).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrdata.evaluation.equal_recall_intervals import MOST_OUTSIDE
from csrdata.evaluation.holm import holm
from csrdata.evaluation.intervals import FLIPS, Numbers, Ratio, divide, paired_tests, quantiles, resampled

Ratios = Mapping[str, Ratio]
"""One seed's figures by name; the images are the rows."""
BySeed = Mapping[int, Ratios]
Draws = Mapping[int, Mapping[str, tuple[Numbers, Numbers]]]
"""By seed and figure: numerators and denominators in each draw of the images, [resamples] each."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A figure over seeds and images."""

    value: float | None
    low: float | None
    high: float | None
    seeds: tuple[float | None, ...]
    """The figure of each seed, in the order of the seeds."""


def pool(
    arm: BySeed, *, resamples: int, confidence: float, seed: int, draws: Draws | None = None
) -> dict[str, Pooled]:
    """Return an arm's figures, each with its interval and its value by seed.

    A figure that does not exist in more than `MOST_OUTSIDE` of the draws has no interval: the others would be a selection.

    Args:
        arm: by seed, one or more, the same figures over the same N images in the same order.
        resamples: of the bootstrap.
        confidence: of the intervals, percent.
        seed: equal seeds draw the same images and seeds.
        draws: those of figures whose draw is more than one of images. They are of the same images for all seeds.
    """
    names = list(next(iter(arm.values())))
    drawn = _draw(arm, names, draws or {}, resamples=resamples, seed=seed)
    found = {}
    for index, name in enumerate(names):
        bounded = np.isnan(drawn[:, index]).sum() <= MOST_OUTSIDE * resamples
        low, high = quantiles(drawn[:, index], confidence=confidence) if bounded else (None, None)
        values = tuple(ratios[name].value for ratios in arm.values())
        found[name] = Pooled(added([ratios[name] for ratios in arm.values()]).value, low, high, values)
    return found


def compare(
    pairs: Mapping[str, tuple[BySeed, BySeed]], *, seed: int, flips: int = FLIPS
) -> dict[tuple[str, str], float | None]:
    """Return the p-value of each figure of each pair of arms, by the name of the pair and of the figure.

    Args:
        pairs: two arms by the name of their comparison, over the same N images; a comparison without a common seed has no
            p-values.
        seed: equal seeds draw the same swaps, the same for all pairs.
        flips: random swaps of all images.
    """
    own: list[Ratio] = []
    other: list[Ratio | None] = []
    keys: list[tuple[str, str]] = []
    for comparison, (first, second) in pairs.items():
        common = [one for one in first if one in second]
        names = [
            name
            for name in (next(iter(first.values())) if common else {})
            if all(name in second[one] for one in common)
        ]
        for name in names:
            keys.append((comparison, name))
            own.append(added([first[one][name] for one in common]))
            other.append(added([second[one][name] for one in common]))
    chances = paired_tests(own, other, resamples=flips, seed=seed) if keys else []
    return dict(zip(keys, chances, strict=True))


def correct(chances: Mapping[tuple[str, str], float | None]) -> dict[tuple[str, str], float | None]:
    """Return the p-values of a table corrected together (Holm); a test that does not exist is not in the family."""
    known = {key: chance for key, chance in chances.items() if chance is not None}
    names = {str(number): key for number, key in enumerate(known)}
    adjusted = holm({number: known[key] for number, key in names.items()})
    return dict.fromkeys(chances) | {names[number]: chance for number, chance in adjusted.items()}


def added(ratios: Sequence[Ratio]) -> Ratio:
    """Return the ratio whose numerators and denominators are the sums, image by image."""
    return Ratio(
        np.sum([one.numerators for one in ratios], axis=0),
        np.sum([one.denominators for one in ratios], axis=0),
        ratios[0].scale,
    )


def _draw(arm: BySeed, names: Sequence[str], draws: Draws, *, resamples: int, seed: int) -> Numbers:
    """Return the figures of each draw, [resamples, figures]."""
    sums = [
        _with_draws(
            resampled([ratios[name] for name in names], resamples=resamples, seed=seed),
            names,
            draws.get(own, {}),
        )
        for own, ratios in arm.items()
    ]
    if len(sums) == 1:
        return divide(*sums[0])
    rng = np.random.default_rng([seed, 2])
    count = len(sums)
    weights = rng.multinomial(count, [1 / count] * count, size=resamples).astype(np.float64)
    above, below = (
        sum(
            np.where(weights[:, index, None] > 0, weights[:, index, None] * one[part], 0.0)
            for index, one in enumerate(sums)
        )
        for part in (0, 1)
    )
    return divide(np.asarray(above), np.asarray(below))


def _with_draws(
    sums: tuple[Numbers, Numbers], names: Sequence[str], draws: Mapping[str, tuple[Numbers, Numbers]]
) -> tuple[Numbers, Numbers]:
    """Return sums in which some figures have separate draws."""
    for index, name in enumerate(names):
        if name in draws:
            sums[0][:, index], sums[1][:, index] = draws[name]
    return sums
