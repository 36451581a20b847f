"""What a bias on end-of-sequence alone does to the base: fewer absent objects for less recall, without training.

Every arm is compared with this curve: an arm that names no fewer absent objects than the base does at the same
recall has gained nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from csrdata.ablation.arms import BASE
from csrdata.ablation.cell import Cell
from csrdata.ablation.comparing import Pooled
from csrdata.ablation.table import Reference, Row, Table
from csrdata.evaluation.equal_recall import crossings

AT_THIS_RECALL = "base_chair_s_at_this_recall"
"""The name in metrics/ablation.json of `base_at_recalls`."""
Point = Mapping[str, float | None]
"""The bias, nats, and the figures of `csrdata.evaluation.scorecard.CURVE_FIGURES` at it."""


def base_curves(table: Table, split: str) -> dict[int, list[Point]]:
    """Return the points of the base's curve on a split by seed, ascending in the bias; seeds without one are left out."""
    results = next((row.results for row in table.rows if row.arm.name == BASE), {})
    found = {}
    for seed, result in results.items():
        points = result.match_recall.get(BASE, {}).get("curves", {}).get(split, ())
        if points:
            found[seed] = sorted(points, key=lambda point: float(point["bias"]))
    return found


def mean_points(curves: Mapping[int, Sequence[Point]], names: Sequence[str]) -> dict[float, dict[str, float]]:
    """Return the means over seeds by bias, ascending; a bias at which a seed lacks one of the figures is left out."""
    by_bias: dict[float, list[Point]] = {}
    for points in curves.values():
        for point in points:
            by_bias.setdefault(float(point["bias"] or 0.0), []).append(point)
    found = {}
    for bias, points in sorted(by_bias.items()):
        values = {name: [value for one in points if (value := one.get(name)) is not None] for name in names}
        if all(len(known) == len(points) for known in values.values()):
            found[bias] = {name: sum(known) / len(known) for name, known in values.items()}
    return found


def chair_s_at(points: Sequence[Point], recall: float | None) -> float | None:
    """Return CHAIR_S of the base at the bias that gives it a recall, percent; None if no bias does.

    Linear in recall between two points; where the curve has the recall more than once, the place nearest to a bias of 0.
    """
    known = [(one["bias"], one["recall"], one["chair_s"]) for one in points]
    if recall is None or not known or any(None in one for one in known):
        return None
    biases, recalls, chairs = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    (below,), (share,) = crossings(list(biases), recalls[None, :], np.array([recall]))
    if np.isnan(share):
        return None
    after = min(int(below) + 1, len(chairs) - 1)
    return float((1 - share) * chairs[below] + share * chairs[after])


def base_at_recalls(row: Row | Reference, curves: Mapping[int, Sequence[Point]], split: str) -> float | None:
    """Return the mean over an arm's seeds of the base's CHAIR_S at the arm's own recall; None where a seed has none."""
    cell = row.cells.get(f"{split}/recall")
    recalls = () if cell is None else cell.figure.seeds
    if len(recalls) != len(row.found):
        return None
    values = [
        chair_s_at(curves.get(seed, ()), recall) for seed, recall in zip(row.found, recalls, strict=True)
    ]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def with_base(table: Table) -> dict[str, dict[str, object]]:
    """Return the table in the form of metrics/ablation.json, each arm with the base at its recall."""
    found = table.as_json()
    for split in table.splits:
        curves = base_curves(table, split)
        for row in table.rows:
            value = base_at_recalls(row, curves, split)
            if value is not None:
                cell = Cell(Pooled(value, None, None, ()), None, None)
                found[row.arm.name][f"{split}/{AT_THIS_RECALL}"] = cell.as_json()
    return found
