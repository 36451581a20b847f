"""Figures that no test compares, as no result has them image by image: means over the seeds that all arms have them with.

Older results lack some figures. Were each arm's mean taken over the seeds that it has, arms would differ because their seeds
do.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from csrdata.ablation.by_seed import PRIMARY
from csrdata.ablation.cell import Cell
from csrdata.ablation.comparing import Pooled
from csrdata.ablation.counts import FIGURES
from csrdata.ablation.result import SHOWN, Result

UNCOUNTED = tuple(name for name in SHOWN if name not in {PRIMARY, *FIGURES})
"""Figures that a result has from its own summary alone."""


def complete_seeds(arms: Iterable[Mapping[int, bool]]) -> set[int]:
    """Return the seeds with which no arm lacks what it has with another seed.

    Args:
        arms: of each, by seed, whether its result has it. Arms that never have it do not count.
    """
    having = [arm for arm in arms if any(arm.values())]
    return {seed for arm in having for seed in arm if all(other.get(seed, True) for other in having)}


def complete_figures(arms: Sequence[Mapping[int, Result]], splits: Sequence[str]) -> dict[str, set[int]]:
    """Return `complete_seeds` of each figure of `UNCOUNTED` after the last iteration, by metric.

    Args:
        arms: of each, the results by seed.
        splits: those of the metrics.
    """
    return {
        f"{split}/{name}": complete_seeds(
            {seed: name in one.figures.get(one.last, {}).get(split, {}) for seed, one in results.items()}
            for results in arms
        )
        for split in splits
        for name in UNCOUNTED
    }


def uncounted_cells(
    results: Mapping[int, Result], policies: Mapping[int, str], seeds: Mapping[str, Collection[int]]
) -> dict[str, Cell]:
    """Return the mean of each metric over its seeds; with one result, with the interval of its summary.

    Args:
        results: of one arm, by seed.
        policies: whose figures, by seed.
        seeds: by metric, those to use: `complete_figures`.
    """
    found = {}
    for metric, used in seeds.items():
        split, _, name = metric.partition("/")
        figures = {seed: one.figures.get(policies[seed], {}).get(split, {}) for seed, one in results.items()}
        own = [one.get(name) if seed in used else None for seed, one in figures.items()]
        values = [None if one is None else one.value for one in own]
        known = [value for value in values if value is not None]
        if known:
            (low, high) = (own[0].low, own[0].high) if len(own) == 1 and own[0] else (None, None)
            found[metric] = Cell(Pooled(sum(known) / len(known), low, high, tuple(values)), None, None)
    return found
