"""What one iteration gains, against how often the search's scorer prefers the truer answer."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.ablation.arms import BASE, Group, WeakerScorers
from csrdata.ablation.by_seed import PRIMARY
from csrdata.ablation.cell import Cell
from csrdata.ablation.result import Result
from csrdata.ablation.table import Table


@dataclass(frozen=True, slots=True)
class Point:
    """An arm, after one iteration."""

    arm: str
    accuracy: float
    """% of pairs of answers of the first search, unequal in truth, of which R_I prefers the truer one; 50 is chance."""
    reward_accuracy: float | None
    """The same of the reward."""
    cells: Mapping[str, Cell]
    """By figure."""
    gain: float | None
    """The base's `PRIMARY` less the arm's, in points; negative: harm. None: no bias gives the arm the base's recall, which
    is harm too."""


def scorer_curve(table: Table, weaker: WeakerScorers | None, split: str) -> list[Point]:
    """Return the points of some arms and of their recipe, the best scorer first; arms of unknown accuracy are left out.

    Args:
        table: of all arms.
        weaker: exploratory arms of one iteration that differ in the scorer of the search. Those with other seeds than the
            first one with results are left out. None: no points.
        split: to measure on.
    """
    if weaker is None:
        return []
    rows = [row for row in table.rows if row.arm.name in weaker.arms and row.results]
    if not rows:
        return []
    seeds = rows[0].found
    cells = {row.arm.name: _of_split(row.cells, split) for row in rows if row.found == seeds}
    references = {
        (one.title, one.iterations): _of_split(one.cells, split)
        for one in table.references[Group.EXPLORATORY]
        if one.found == seeds
    }
    cells[weaker.recipe] = references.get((weaker.recipe, 1), {})
    base = _value(references.get((BASE, 0), {}))
    results = {
        row.arm.name: [row.results[seed] for seed in seeds if seed in row.results] for row in table.rows
    }
    found = []
    for name, own in cells.items():
        accuracy, value = _mean(results[name], "relevance_prefers_truer"), _value(own)
        measured = value is not None or any(
            one.match_recall.get(one.last, {}).get("reason") for one in results[name]
        )
        if accuracy is not None and base is not None and measured:
            reward = _mean(results[name], "reward_prefers_truer")
            found.append(Point(name, accuracy, reward, own, None if value is None else base - value))
    return sorted(found, key=lambda point: -point.accuracy)


def break_even(points: Sequence[Point]) -> float | None:
    """Return the highest accuracy, in %, under which an iteration does harm: linear between points; None: none of them does.

    Args:
        points: the best scorer first; those without a gain have no place on the line.
    """
    line = [(point.accuracy, point.gain) for point in points if point.gain is not None]
    for (better, gain), (worse, loss) in itertools.pairwise(line):
        if gain >= 0 > loss:
            return better - gain / (gain - loss) * (better - worse)
    return None


def _of_split(cells: Mapping[str, Cell], split: str) -> dict[str, Cell]:
    """Return the cells of one split, by figure."""
    prefix = f"{split}/"
    return {name.removeprefix(prefix): cell for name, cell in cells.items() if name.startswith(prefix)}


def _value(cells: Mapping[str, Cell]) -> float | None:
    """Return `PRIMARY`."""
    return cells[PRIMARY].figure.value if PRIMARY in cells else None


def _mean(results: Sequence[Result], name: str) -> float | None:
    """Return the mean over seeds of a figure of the first iteration's pairs."""
    values = [result.pairs[result.iterations[1]].get(name) for result in results if result.pairs]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
