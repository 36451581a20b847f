"""The table of all arms: results in, figures with intervals and tests out, as JSON and as Markdown.

    {ARM: {METRIC: {"value", "low", "high", "seeds": [...], "p_vs_base", "p_vs_shipped"}, ...}, ...}

METRIC is one of

- `SPLIT/FIGURE`: a figure of the plain answers by its name in metrics/summary.json.
- `SPLIT/chair_s_at_recall`: CHAIR_S at the base's recall, by a bias on end-of-sequence, set on validation images. The
  interval covers how it is set, the test takes it as given. Where no bias gives some seed the base's recall, it has no
  value, only those of the other seeds.
- `SPLIT/base_chair_s_at_this_recall`: CHAIR_S of the base with the bias that gives it the arm's recall; a value alone
  (`csrdata.ablation.base_curve`).

"seeds" has the value of each seed. The p-values are two-sided, from 20,000 swaps, and corrected over all tests of a split
and group of arms (Holm). What was not measured is absent; a test that does not exist is null. Only what is counted image by
image has tests (`csrdata.ablation.counts.FIGURES`). Of other figures there is the mean over the seeds that all arms have
them with, and the run's own interval if there is one seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csrdata.ablation.arms import BASE, SHIPPED, Arm, Arms, Group
from csrdata.ablation.by_seed import (
    PRIMARY,
    SEED,
    ByArm,
    base_figures,
    every_figure_by_seed,
    figures_by_seed,
    last_policies,
    pooled_figures,
    shipped_figures,
)
from csrdata.ablation.cell import Cell
from csrdata.ablation.comparing import Pooled, compare, correct
from csrdata.ablation.result import Result
from csrdata.ablation.some_seeds import SomeSeeds, over_some_seeds
from csrdata.ablation.uncounted import complete_figures, uncounted_cells
from csrdata.evaluation.intervals import seed_for


@dataclass(frozen=True, slots=True)
class Reference:
    """What some exploratory arms are compared with: base, shipped or another recipe, with the seeds of these arms."""

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
        """The seeds without a result; of an exploratory arm, for which one seed is enough, none if any has a result."""
        if self.arm.group is Group.EXPLORATORY and self.results:
            return []
        return [seed for seed in self.seeds if seed not in self.results]


@dataclass(frozen=True, slots=True)
class Table:
    """All arms, in the order of the file."""

    rows: tuple[Row, ...]
    references: Mapping[Group, tuple[Reference, ...]]
    some_seeds: Mapping[str, tuple[SomeSeeds, ...]]
    """By split: arms that have `PRIMARY` with some of their seeds alone."""
    splits: tuple[str, ...]
    left_out: tuple[str, ...]
    """Results that are not comparable with the others, each with the reason."""

    def of(self, group: Group) -> list[Row]:
        """Return the arms of a group that have results."""
        return [row for row in self.rows if row.arm.group is group and row.results]

    def as_json(self) -> dict[str, dict[str, object]]:
        """Return the table in the form of metrics/ablation.json."""
        return {
            row.arm.name: {metric: cell.as_json() for metric, cell in row.cells.items()}
            for row in self.rows
            if row.results
        }


def build(
    arms: Arms,
    results: Iterable[Result],
    *,
    seeds: tuple[int, ...] | None = None,
    outdated: Mapping[tuple[str, int], str] | None = None,
) -> Table:
    """Return the table of all arms; an arm without results has an empty row.

    Args:
        arms: of the arms file.
        results: in any order; left out are those of arms that the file does not have, those that answered other questions
            than the first result of the base (or else of any arm), and those trained on another machine than the base with
            the same seed: they started from other models.
        seeds: of a whole run; None: each arm's own.
        outdated: results to leave out because their arm has other settings today: by arm and seed, what differs.
    """
    by_arm: dict[str, dict[int, Result]] = {name: {} for name in arms.by_name}
    left_out = []
    ordered = sorted(results, key=lambda one: (one.origin.arm != BASE, one.origin.arm, one.origin.seed))
    first = ordered[0] if ordered else None
    for result in ordered:
        key = result.origin.arm, result.origin.seed
        name = f"{result.origin.arm}/{result.origin.seed}"
        if result.origin.arm not in by_arm:
            left_out.append(f"{name}: no such arm")
        elif outdated is not None and key in outdated:
            left_out.append(f"{name}: made with other settings than the arm has today ({outdated[key]})")
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
    references: dict[Group, tuple[Reference, ...]] = {}
    for group in Group:
        members = [arm for arm in arms.by_name.values() if arm.group is group and by_arm[arm.name]]
        compared = dict.fromkeys([BASE, SHIPPED, *(arm.name for arm in members)])
        complete = complete_figures([by_arm[name] for name in compared if name in by_arm], splits)
        for arm in members:
            own = by_arm[arm.name]
            cells[arm.name] = uncounted_cells(own, last_policies(own), complete)
        for split in splits:
            for arm_name, found in _cells(members, by_arm, split).items():
                cells[arm_name] |= found
        exploratory = group is Group.EXPLORATORY
        references[group] = _references(arms, by_arm, splits, complete) if exploratory else ()
    rows = tuple(
        Row(arm, by_arm[name], cells[name], arm.seeds if seeds is None else seeds)
        for name, arm in arms.by_name.items()
    )
    some_seeds = {split: over_some_seeds(by_arm, split) for split in splits}
    return Table(rows, references, some_seeds, splits, tuple(left_out))


def _references(
    arms: Arms, by_arm: ByArm, splits: Sequence[str], complete: Mapping[str, set[int]]
) -> tuple[Reference, ...]:
    """Return base and shipped with the seeds and the numbers of iterations of the exploratory arms that have results.

    With those of the arms that differ in the scorer comes their recipe, too.
    """
    weaker = arms.weaker_scorers
    wanted: dict[tuple[int, ...], set[tuple[int, str]]] = {}
    for arm in arms.by_name.values():
        if arm.group is Group.EXPLORATORY and by_arm[arm.name]:
            own = by_arm[arm.name]
            numbers = {len(one.iterations) - 1 for one in own.values()}
            wanted.setdefault(tuple(own), {(0, BASE)}).update((number, SHIPPED) for number in numbers)
            if weaker is not None and arm.name in weaker.arms:
                wanted[tuple(own)].update((number, weaker.recipe) for number in numbers)
    found = []
    for seeds, names in sorted(wanted.items()):
        for iterations, name in sorted(names):
            policies = {
                seed: by_arm[name][seed].iterations[iterations]
                for seed in seeds
                if seed in by_arm[name] and iterations < len(by_arm[name][seed].iterations)
            }
            cells: dict[str, Cell] = {}
            for split in splits:
                by_seed = figures_by_seed(by_arm, name, policies, split)
                pooled = pooled_figures(by_arm, name, policies, by_seed, split) if by_seed else {}
                cells |= {f"{split}/{figure}": Cell(one, None, None) for figure, one in pooled.items()}
            if cells:
                own = {seed: by_arm[name][seed] for seed in policies}
                cells = uncounted_cells(own, policies, complete) | cells
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
    policies = {arm.name: last_policies(by_arm[arm.name]) for arm in members}
    own = {name: figures_by_seed(by_arm, name, wanted, split) for name, wanted in policies.items()}
    own = {name: by_seed for name, by_seed in own.items() if by_seed}
    pairs = {}
    for name, by_seed in own.items():
        if name != BASE:
            pairs[f"{name} {BASE}"] = (by_seed, base_figures(by_arm, name, split))
        if name not in {BASE, SHIPPED}:
            pairs[f"{name} {SHIPPED}"] = (by_seed, shipped_figures(by_arm, name, split))
    chances = correct(compare(pairs, seed=seed_for(SEED, split)))
    found = {}
    for name, by_seed in own.items():
        pooled = _without_value(by_arm, name, policies[name], split)
        pooled |= pooled_figures(by_arm, name, policies[name], by_seed, split)
        found[name] = {
            f"{split}/{figure}": Cell(
                one, chances.get((f"{name} {BASE}", figure)), chances.get((f"{name} {SHIPPED}", figure))
            )
            for figure, one in pooled.items()
        }
    return found


def _without_value(by_arm: ByArm, name: str, policies: Mapping[int, str], split: str) -> dict[str, Pooled]:
    """Return `PRIMARY` without a value, with that of the seeds that have it; nothing where none or all of them do."""
    ratios = [one.get(PRIMARY) for one in every_figure_by_seed(by_arm, name, policies, split).values()]
    values = tuple(None if ratio is None else ratio.value for ratio in ratios)
    return {PRIMARY: Pooled(None, None, None, values)} if {None} < set(values) else {}


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
