"""The table of all arms: results in, figures with intervals and tests out, as JSON and as Markdown.

    {ARM: {METRIC: {"value", "low", "high", "seeds": [...], "p_vs_base", "p_vs_shipped"}, ...}, ...}

METRIC is `SPLIT/FIGURE`, a figure of the plain answers by its name in metrics/summary.json, or
`SPLIT/chair_s_at_recall`, CHAIR_S at the base's recall: a bias on end-of-sequence, set on validation images; the interval
covers how it is set, the test takes it as given. "seeds" has the value of each seed. The p-values are two-sided, from
20,000 swaps, and corrected over all tests of a split and group of arms (Holm). What was not measured is absent; a test
that does not exist is null. Only what is counted image by image has tests (`csrdata.ablation.counts.FIGURES`); of other
figures there is the mean over the seeds that have them, with the run's own interval if there is one seed. Where no bias
gives some seed the base's recall, CHAIR_S at it has no value, only those of the other seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csrdata.ablation.arms import BASE, SHIPPED, Arm, Arms, Group
from csrdata.ablation.comparing import BySeed, Pooled, compare, correct, pool
from csrdata.ablation.counts import FIGURES, Counts
from csrdata.ablation.curves import draw_at_recall, ratio_at_recall
from csrdata.ablation.result import SHOWN, Result
from csrdata.evaluation.intervals import Ratio, seed_for
from csrdata.evaluation.scorecard import AT_RECALL

PRIMARY = AT_RECALL["chair_s"]
"""The figure that arms are compared by."""
CONFIDENCE, RESAMPLES, SEED = 95.0, 2000, 0
UNCOUNTED = tuple(name for name in SHOWN if name not in {PRIMARY, *FIGURES})
"""Figures that a result has from its own summary alone."""
ByArm = Mapping[str, Mapping[int, Result]]
"""Results by arm and seed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of an arm."""

    figure: Pooled
    p_vs_base: float | None
    p_vs_shipped: float | None

    def as_json(self) -> dict[str, object]:
        """Return the cell in the form of the file, rounded: smaller differences come from the order of summation."""
        value, low, high = (_rounded(one) for one in (self.figure.value, self.figure.low, self.figure.high))
        return {
            "value": value,
            "low": low,
            "high": high,
            "seeds": [_rounded(one) for one in self.figure.seeds],
            "p_vs_base": _rounded(self.p_vs_base),
            "p_vs_shipped": _rounded(self.p_vs_shipped),
        }


@dataclass(frozen=True, slots=True)
class Reference:
    """What some exploratory arms are compared with: base or shipped, with the seeds of these arms."""

    title: str
    found: tuple[int, ...]
    """The seeds."""
    iterations: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Row:
    """An arm."""

    arm: Arm
    results: Mapping[int, Result]
    """By seed, those that are comparable."""
    cells: Mapping[str, Cell]
    """By metric."""
    seeds: tuple[int, ...]
    """Those of a whole run."""

    @property
    def title(self) -> str:
        """The arm's name."""
        return self.arm.name

    @property
    def iterations(self) -> int:
        """How many the arm has."""
        return self.arm.iterations

    @property
    def found(self) -> tuple[int, ...]:
        """The seeds with a result."""
        return tuple(self.results)

    @property
    def missing(self) -> list[int]:
        """The seeds without a result."""
        return [seed for seed in self.seeds if seed not in self.results]


@dataclass(frozen=True, slots=True)
class Table:
    """All arms, in the order of the file."""

    rows: tuple[Row, ...]
    references: Mapping[Group, tuple[Reference, ...]]
    splits: tuple[str, ...]
    left_out: tuple[str, ...]
    """Results that are not comparable with the others, each with the reason."""

    def of(self, group: Group) -> list[Row]:
        """Return the arms of a group that have results."""
        return [row for row in self.rows if row.arm.group is group and row.results]

    def as_json(self) -> dict[str, object]:
        """Return the table in the form of metrics/ablation.json."""
        return {
            row.arm.name: {metric: cell.as_json() for metric, cell in row.cells.items()}
            for row in self.rows
            if row.results
        }


def build(arms: Arms, results: Iterable[Result], *, seeds: tuple[int, ...] | None = None) -> Table:
    """Return the table of all arms; an arm without results has an empty row.

    Args:
        arms: of the arms file.
        results: in any order; left out are those of arms that the file does not have, those that answered other questions
            than the first result of the base (or else of any arm), and those trained on another machine than the base with
            the same seed: they started from other models.
        seeds: of a whole run; None: each arm's own.
    """
    by_arm: dict[str, dict[int, Result]] = {name: {} for name in arms.by_name}
    left_out = []
    ordered = sorted(results, key=lambda one: (one.origin.arm != BASE, one.origin.arm, one.origin.seed))
    first = ordered[0] if ordered else None
    for result in ordered:
        name = f"{result.origin.arm}/{result.origin.seed}"
        if result.origin.arm not in by_arm:
            left_out.append(f"{name}: no such arm")
        elif first is not None and (result.questions, result.world) != (first.questions, first.world):
            left_out.append(
                f"{name}: other questions, truth or rules than {first.origin.arm}/{first.origin.seed}"
            )
        elif (why := _other_machine(result, by_arm[BASE].get(result.origin.seed))) is not None:
            left_out.append(f"{name}: {why}")
        else:
            by_arm[result.origin.arm][result.origin.seed] = result
    splits = _splits(by_arm)
    cells: dict[str, dict[str, Cell]] = {name: {} for name in by_arm}
    for split in splits:
        for group in Group:
            members = [arm for arm in arms.by_name.values() if arm.group is group and by_arm[arm.name]]
            for arm_name, found in _cells(members, by_arm, split).items():
                cells[arm_name] |= found
    for name, own in by_arm.items():
        last = {seed: result.last for seed, result in own.items()}
        cells[name] = _of_summaries(own, last, splits) | cells[name]
    rows = tuple(
        Row(arm, by_arm[name], cells[name], arm.seeds if seeds is None else seeds)
        for name, arm in arms.by_name.items()
    )
    references = {
        group: _references(arms, by_arm, splits) if group is Group.EXPLORATORY else () for group in Group
    }
    return Table(rows, references, splits, tuple(left_out))


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


def _of_summaries(
    results: Mapping[int, Result], policies: Mapping[int, str], splits: Sequence[str]
) -> dict[str, Cell]:
    """Return `UNCOUNTED` by metric: the mean over the seeds that have a figure."""
    found = {}
    for split in splits:
        figures = {seed: one.figures.get(policies[seed], {}).get(split, {}) for seed, one in results.items()}
        for name in UNCOUNTED:
            own = [one.get(name) for one in figures.values()]
            values = [None if one is None else one.value for one in own]
            known = [value for value in values if value is not None]
            if known:
                (low, high) = (own[0].low, own[0].high) if len(own) == 1 and own[0] else (None, None)
                pooled = Pooled(sum(known) / len(known), low, high, tuple(values))
                found[f"{split}/{name}"] = Cell(pooled, None, None)
    return found


def _references(arms: Arms, by_arm: ByArm, splits: Sequence[str]) -> tuple[Reference, ...]:
    """Return base and shipped with the seeds and the numbers of iterations of the exploratory arms that have results."""
    counts: dict[tuple[int, ...], set[int]] = {}
    for arm in arms.by_name.values():
        if arm.group is Group.EXPLORATORY and by_arm[arm.name]:
            own = by_arm[arm.name]
            counts.setdefault(tuple(own), {0}).update(len(one.iterations) - 1 for one in own.values())
    found = []
    for seeds, numbers in sorted(counts.items()):
        for iterations in sorted(numbers):
            name = SHIPPED if iterations else BASE
            policies = {
                seed: by_arm[name][seed].iterations[iterations]
                for seed in seeds
                if seed in by_arm[name] and iterations < len(by_arm[name][seed].iterations)
            }
            cells: dict[str, Cell] = {}
            for split in splits:
                by_seed = _by_seed(by_arm, name, policies, split)
                pooled = _pool(by_arm, name, policies, by_seed, split) if by_seed else {}
                cells |= {f"{split}/{figure}": Cell(one, None, None) for figure, one in pooled.items()}
            if cells:
                own = {seed: by_arm[name][seed] for seed in policies}
                cells = _of_summaries(own, policies, splits) | cells
                found.append(Reference(name, tuple(policies), iterations, cells))
    return tuple(found)


def _other_machine(result: Result, base: Result | None) -> str | None:
    """Return why a result has other models than the base with its seed, if the machines say so; None: they do not."""
    if (
        base is None or base is result or BASE in result.counts
    ):  # with counts of its base, it is compared with that one
        return None
    theirs, own = (
        ", ".join(str(one.machine.get(key)) for key in ("processor", "instructions", "torch"))
        for one in (base, result)
    )
    seed = result.origin.seed
    return None if own == theirs else f"trained on {own}, and base/{seed} on {theirs}: other models"


def _cells(members: Sequence[Arm], by_arm: ByArm, split: str) -> dict[str, dict[str, Cell]]:
    """Return the cells of one split of some arms, their tests corrected together."""
    policies = {arm.name: {seed: one.last for seed, one in by_arm[arm.name].items()} for arm in members}
    own = {name: _by_seed(by_arm, name, wanted, split) for name, wanted in policies.items()}
    own = {name: by_seed for name, by_seed in own.items() if by_seed}
    pairs = {}
    for name, by_seed in own.items():
        if name != BASE:
            pairs[f"{name} {BASE}"] = (by_seed, _base_of(by_arm, name, split))
        if name not in {BASE, SHIPPED}:
            pairs[f"{name} {SHIPPED}"] = (by_seed, _shipped_for(by_arm, name, split))
    chances = correct(compare(pairs, seed=seed_for(SEED, split)))
    found = {}
    for name, by_seed in own.items():
        pooled = _pool(by_arm, name, policies[name], by_seed, split)
        pooled = _of_some_seeds(by_arm, name, policies[name], split) | pooled
        found[name] = {
            f"{split}/{figure}": Cell(
                one, chances.get((f"{name} {BASE}", figure)), chances.get((f"{name} {SHIPPED}", figure))
            )
            for figure, one in pooled.items()
        }
    return found


def _of_some_seeds(by_arm: ByArm, name: str, policies: Mapping[int, str], split: str) -> dict[str, Pooled]:
    """Return `PRIMARY` without a value, with that of the seeds that have it; nothing where none or all of them do."""
    ratios = [
        figures_of(by_arm[name][seed], split, policy=policy, base=_base_counts(by_arm, name, seed)).get(
            PRIMARY
        )
        for seed, policy in policies.items()
    ]
    values = tuple(None if ratio is None else ratio.value for ratio in ratios)
    return {PRIMARY: Pooled(None, None, None, values)} if {None} < set(values) else {}


def _pool(
    by_arm: ByArm, name: str, policies: Mapping[int, str], by_seed: BySeed, split: str
) -> dict[str, Pooled]:
    """Return pooled figures; the draws of `PRIMARY` find the bias again."""
    draws = {}
    for seed in by_seed:
        result, base = by_arm[name][seed], _base_counts(by_arm, name, seed)
        curve = result.curves.get(policies[seed])
        if curve is not None and base is not None and PRIMARY in by_seed[seed]:
            counts = result.counts[policies[seed]]
            draws[seed] = {
                PRIMARY: draw_at_recall(
                    curve, counts, base[curve.split], split, resamples=RESAMPLES, seed=SEED
                )
            }
    return pool(by_seed, resamples=RESAMPLES, confidence=CONFIDENCE, seed=seed_for(SEED, split), draws=draws)


def _by_seed(by_arm: ByArm, name: str, policies: Mapping[int, str], split: str) -> BySeed:
    """Return an arm's figures by seed: those of one policy for each seed, as far as all of them have them."""
    found = {
        seed: figures_of(by_arm[name][seed], split, policy=policy, base=_base_counts(by_arm, name, seed))
        for seed, policy in policies.items()
    }
    common = set.intersection(*(set(ratios) for ratios in found.values())) if found else set()
    if not common:
        return {}
    return {
        seed: {figure: ratio for figure, ratio in ratios.items() if figure in common}
        for seed, ratios in found.items()
    }


def _base_counts(by_arm: ByArm, name: str, seed: int) -> Mapping[str, Counts] | None:
    """Return the base's counts by split: the arm's own where it has another base, else those of the arm `base`."""
    holder = _base_holder(by_arm, name, seed)
    return None if holder is None else holder.counts.get(BASE)


def _base_holder(by_arm: ByArm, name: str, seed: int) -> Result | None:
    result = by_arm[name][seed]
    return result if BASE in result.counts and result.last != BASE else by_arm[BASE].get(seed)


def _base_of(by_arm: ByArm, name: str, split: str) -> BySeed:
    """Return the base's figures for the seeds of an arm."""
    holders = {seed: _base_holder(by_arm, name, seed) for seed in by_arm[name]}
    found = {
        seed: figures_of(holder, split, policy=BASE, base=None)
        for seed, holder in holders.items()
        if holder is not None
    }
    return {seed: ratios for seed, ratios in found.items() if ratios}


def _shipped_for(by_arm: ByArm, name: str, split: str) -> BySeed:
    """Return the shipped figures after as many iterations as the arm has, or after the last if none has that many."""
    policies = {}
    for seed, result in by_arm[name].items():
        shipped = by_arm[SHIPPED].get(seed)
        if shipped is not None:
            same = result.last in shipped.counts and result.last != BASE
            policies[seed] = result.last if same else shipped.last
    return _by_seed(by_arm, SHIPPED, policies, split)


def _splits(by_arm: ByArm) -> tuple[str, ...]:
    """Return the splits with counts: those of the ablation's reports first, the others by name."""
    names = {
        split
        for results in by_arm.values()
        for result in results.values()
        for splits in result.counts.values()
        for split in splits
    }
    first = ("held_out", "out_of_distribution")
    return (*(name for name in first if name in names), *sorted(names - set(first)))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
