"""What one iteration gains, against how often the search's scorer prefers the truer answer."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.ablation.arms import BASE, SHIPPED, Group
from csrdata.ablation.result import Result
from csrdata.ablation.table import PRIMARY, Cell, Table


@dataclass(frozen=True, slots=True)
class Point:
    """An arm, after one iteration."""

    arm: str
    accuracy: float
    """% of pairs of answers of the first search, unequal in truth, of which R_I prefers the truer one; 50 is chance."""
    reward_accuracy: float | None
    """The same of the reward."""
    cell: Cell
    """`PRIMARY`, % of answers."""
    gain: float
    """The base's `PRIMARY` less the arm's, in points; negative: harm."""


def scorer_curve(table: Table, arms: Sequence[str], split: str) -> list[Point]:
    """Return the points of some arms and of `shipped`, the best scorer first; arms without one of the figures are left out.

    Args:
        table: of all arms.
        arms: exploratory arms of one iteration that differ in the scorer of the search.
        split: to measure on.
    """
    metric = f"{split}/{PRIMARY}"
    references = table.references[Group.EXPLORATORY]
    shipped = next((one for one in references if one.title == SHIPPED and one.iterations == 1), None)
    cells = {} if shipped is None else {SHIPPED: shipped.cells.get(metric)}
    cells |= {row.arm.name: row.cells.get(metric) for row in table.rows if row.arm.name in arms}
    base = next(
        (one.cells[metric].figure.value for one in references if one.title == BASE and metric in one.cells),
        None,
    )
    results = {row.arm.name: list(row.results.values()) for row in table.rows}
    found = []
    for name, cell in cells.items():
        accuracy = _mean(results[name], "relevance_prefers_truer")
        if cell is not None and cell.figure.value is not None and accuracy is not None and base is not None:
            reward = _mean(results[name], "reward_prefers_truer")
            found.append(Point(name, accuracy, reward, cell, base - cell.figure.value))
    return sorted(found, key=lambda point: -point.accuracy)


def break_even(points: Sequence[Point]) -> float | None:
    """Return the highest accuracy, in %, under which an iteration does harm: linear between points; None: none of them does.

    Args:
        points: the best scorer first.
    """
    for better, worse in itertools.pairwise(points):
        if better.gain >= 0 > worse.gain:
            share = better.gain / (better.gain - worse.gain)
            return better.accuracy - share * (better.accuracy - worse.accuracy)
    return None


def _mean(results: Sequence[Result], name: str) -> float | None:
    """Return the mean over seeds of a figure of the first iteration's pairs."""
    values = [result.pairs[result.iterations[1]].get(name) for result in results if result.pairs]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
