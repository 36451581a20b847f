"""An arm's figures by seed, what they are compared with, and the figures pooled over seeds."""

from collections.abc import Mapping

from csrdata.ablation.arms import BASE, SHIPPED
from csrdata.ablation.comparing import BySeed, Pooled, pool
from csrdata.ablation.counts import Counts
from csrdata.ablation.curves import draw_at_recall, ratio_at_recall
from csrdata.ablation.result import Result
from csrdata.evaluation.intervals import Ratio, seed_for
from csrdata.evaluation.scorecard import AT_RECALL

PRIMARY = AT_RECALL["chair_s"]
"""The figure that arms are compared by."""
CONFIDENCE, RESAMPLES, SEED = 95.0, 2000, 0
ByArm = Mapping[str, Mapping[int, Result]]
"""Results by arm and seed."""


def figures_of(
    result: Result, split: str, *, policy: str, base: Mapping[str, Counts] | None
) -> dict[str, Ratio]:
    """Return the figures of a policy on a split by the names of metrics, without the split's; empty where not counted.

    Args:
        result: the run.
        split: to measure on.
        policy: of the run.
        base: the base's counts by split, at whose recall `PRIMARY` is; None: there is no such figure.
    """
    counts, curve = result.counts.get(policy, {}), result.curves.get(policy)
    if split not in counts:
        return {}
    plain = counts[split].ratios()
    if policy == BASE and (result.origin.arm == BASE or result.last != BASE):
        return {PRIMARY: plain["chair_s"], **plain}  # the base is at its own recall
    if base is None or curve is None or curve.split not in base or split not in curve.false:
        return plain
    matched = ratio_at_recall(curve, counts, base[curve.split], split)
    return plain if matched is None else {PRIMARY: matched, **plain}


def last_policies(results: Mapping[int, Result]) -> dict[int, str]:
    """Return the policy that an arm's figures are of, by seed."""
    return {seed: one.last for seed, one in results.items()}


def figures_by_seed(by_arm: ByArm, name: str, policies: Mapping[int, str], split: str) -> BySeed:
    """Return an arm's figures by seed: those of one policy for each seed, as far as all of them have them."""
    found = every_figure_by_seed(by_arm, name, policies, split)
    common = set.intersection(*(set(ratios) for ratios in found.values())) if found else set()
    if not common:
        return {}
    return {
        seed: {figure: ratio for figure, ratio in ratios.items() if figure in common}
        for seed, ratios in found.items()
    }


def every_figure_by_seed(by_arm: ByArm, name: str, policies: Mapping[int, str], split: str) -> BySeed:
    """Return an arm's figures by seed, whether the other seeds have them or not."""
    return {
        seed: figures_of(by_arm[name][seed], split, policy=policy, base=_base_counts(by_arm, name, seed))
        for seed, policy in policies.items()
    }


def pooled_figures(
    by_arm: ByArm, name: str, policies: Mapping[int, str], figures: BySeed, split: str
) -> dict[str, Pooled]:
    """Return the figures of `figures_by_seed` over seeds and images; the draws of `PRIMARY` find the bias again."""
    draws = {}
    for seed in figures:
        result, base = by_arm[name][seed], _base_counts(by_arm, name, seed)
        curve = result.curves.get(policies[seed])
        if curve is not None and base is not None and PRIMARY in figures[seed]:
            counts = result.counts[policies[seed]]
            draws[seed] = {
                PRIMARY: draw_at_recall(
                    curve, counts, base[curve.split], split, resamples=RESAMPLES, seed=SEED
                )
            }
    return pool(figures, resamples=RESAMPLES, confidence=CONFIDENCE, seed=seed_for(SEED, split), draws=draws)


def base_figures(by_arm: ByArm, name: str, split: str) -> BySeed:
    """Return the base's figures for the seeds of an arm."""
    holders = {seed: _base_holder(by_arm, name, seed) for seed in by_arm[name]}
    found = {
        seed: figures_of(holder, split, policy=BASE, base=None)
        for seed, holder in holders.items()
        if holder is not None
    }
    return {seed: ratios for seed, ratios in found.items() if ratios}


def shipped_figures(by_arm: ByArm, name: str, split: str) -> BySeed:
    """Return the shipped figures after as many iterations as an arm has, or after the last if none has that many."""
    policies = {}
    for seed, result in by_arm[name].items():
        shipped = by_arm[SHIPPED].get(seed)
        if shipped is not None:
            same = result.last in shipped.counts and result.last != BASE
            policies[seed] = result.last if same else shipped.last
    return figures_by_seed(by_arm, SHIPPED, policies, split)


def _base_counts(by_arm: ByArm, name: str, seed: int) -> Mapping[str, Counts] | None:
    """Return the base's counts by split: the arm's own where it has another base, else those of the arm `base`."""
    holder = _base_holder(by_arm, name, seed)
    return None if holder is None else holder.counts.get(BASE)


def _base_holder(by_arm: ByArm, name: str, seed: int) -> Result | None:
    result = by_arm[name][seed]
    return result if BASE in result.counts and result.last != BASE else by_arm[BASE].get(seed)
