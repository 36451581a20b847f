"""Arms that have CHAIR_S at the base's recall with some of their seeds alone: what these seeds say.

With the others no bias on end-of-sequence gives the base's recall back. The table has no value for such an arm, as one over
the seeds that went well would flatter it. Here it is next to base and shipped with the same seeds.
"""

from dataclasses import dataclass

from csrdata.ablation.arms import BASE, SHIPPED
from csrdata.ablation.by_seed import (
    PRIMARY,
    SEED,
    ByArm,
    base_figures,
    every_figure_by_seed,
    last_policies,
    pooled_figures,
    shipped_figures,
)
from csrdata.ablation.cell import Cell
from csrdata.ablation.comparing import BySeed, added, compare, correct
from csrdata.evaluation.intervals import seed_for


@dataclass(frozen=True, slots=True)
class SomeSeeds:
    """An arm with the seeds that have `PRIMARY`, and what it is compared with there."""

    name: str
    seeds: tuple[int, ...]
    cell: Cell
    """Its tests are corrected over all arms of this kind on the split."""
    base: float | None
    shipped: float | None
    """Of base and shipped with the same seeds, shipped after as many iterations; None without a result."""


def over_some_seeds(by_arm: ByArm, split: str) -> tuple[SomeSeeds, ...]:
    """Return the arms that have `PRIMARY` on a split with some of their seeds and not with all."""
    kept, figures, pairs = {}, {}, {}
    for name, results in by_arm.items():
        found = every_figure_by_seed(by_arm, name, last_policies(results), split)
        own = {seed: {PRIMARY: ratios[PRIMARY]} for seed, ratios in found.items() if PRIMARY in ratios}
        if not 0 < len(own) < len(results):
            continue
        figures[name] = own
        kept[name] = part = {
            other: {seed: one for seed, one in by_arm.get(other, {}).items() if seed in own}
            for other in (name, BASE, SHIPPED)
        }
        pairs[f"{name} {BASE}"] = (own, base_figures(part, name, split))
        if name != SHIPPED:
            pairs[f"{name} {SHIPPED}"] = (own, shipped_figures(part, name, split))
    chances = correct(compare(pairs, seed=seed_for(SEED, split)))
    rows = []
    for name, own in figures.items():
        part = kept[name]
        pooled = pooled_figures(part, name, last_policies(part[name]), own, split)[PRIMARY]
        cell = Cell(pooled, *(chances.get((f"{name} {other}", PRIMARY)) for other in (BASE, SHIPPED)))
        base = _value(base_figures(part, name, split), tuple(own))
        shipped = _value(shipped_figures(part, name, split), tuple(own))
        rows.append(SomeSeeds(name, tuple(own), cell, base, shipped))
    return tuple(rows)


def _value(figures: BySeed, seeds: tuple[int, ...]) -> float | None:
    """Return `PRIMARY` over some seeds; None where one of them has none."""
    if any(PRIMARY not in figures.get(seed, {}) for seed in seeds):
        return None
    return added([figures[seed][PRIMARY] for seed in seeds]).value
