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
        arms: exploratory arms of one iteration that differ in the scorer of the search. Those with other seeds than the
            first one with results are left out.
        split: to measure on.
    """
    metric = f"{split}/{PRIMARY}"
    rows = [row for row in table.rows if row.arm.name in arms and row.results]
    if not rows:
        return []
    seeds = rows[0].found
    cells = {row.arm.name: row.cells.get(metric) for row in rows if row.found == seeds}
    references = {
        (one.title, one.iterations): one.cells.get(metric)
        for one in table.references[Group.EXPLORATORY]
        if one.found == seeds
    }
    cells[SHIPPED], base = references.get((SHIPPED, 1)), references.get((BASE, 0))
    results = {
        row.arm.name: [row.results[seed] for seed in seeds if seed in row.results] for row in table.rows
    }
    found = []
    for name, cell in cells.items():
        accuracy = _mean(results[name], "relevance_prefers_truer")
        if cell is None or base is None or accuracy is None:
            continue
        if cell.figure.value is not None and base.figure.value is not None:
            reward = _mean(results[name], "reward_prefers_truer")
            found.append(Point(name, accuracy, reward, cell, base.figure.value - cell.figure.value))
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
