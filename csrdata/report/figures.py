"""The tables behind the project's plots, as the report draws them: plots/*.csv, as `summarize` writes them."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from csrdata.errors import UserError
from csrdata.evaluation.scorecard import FIGURES

ABSENT = "absent"
"""The column of cases.csv with the made-up objects."""
MOST_ROWS = 400
"""Rows of a table that the page holds; the page says how many more there are."""
_TITLES = {
    "pair_rewards": ("Rewards of chosen and rejected answers", "mean reward"),
    "pair_rewards_released": (
        "Rewards of chosen and rejected answers on the released code's scale",
        "1 - mean cost, 0 to 1",
    ),
    "pair_relevance": ("Relevance of chosen and rejected answers to the image", "R_I, 0 to 100"),
    "pair_likelihood": ("Likelihood of chosen and rejected before training", "nats"),
    "recall_curve": ("Hallucination against recall", "CHAIR_S, percent of answers"),
    "image_attention": ("Attention to the image", "share of an answer's attention, 0 to 1"),
    "image_attention_by_token": (
        "Attention to the image along the answer",
        "share of a token's attention, 0 to 1",
    ),
    "cases": ("Cases, drawn at random", ""),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One table, fit for JSON."""

    name: str
    title: str
    unit: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int
    """Rows behind the first `MOST_ROWS`."""


def figure_tables(folder: Path) -> list[dict[str, object]]:
    """Return the tables of a folder: those of the pairs first, then the policies' figures in the summary's order.

    Raises:
        UserError: a file is not CSV in UTF-8.
    """
    names = {path.stem for path in folder.glob("*.csv") if path.is_file()}
    first = [name for name in _TITLES if name in names]
    policies = [name for name in FIGURES if name in names]
    others = sorted(names - {*first, *policies})
    return [asdict(_read(folder / f"{name}.csv")) for name in (*first, *policies, *others)]


def _read(path: Path) -> Drawn:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *rows = _shown(list(csv.reader(file)) or [[]])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            str(path), got=str(error), expected="a CSV table in UTF-8", do="dvc repro summarize"
        ) from None
    label = FIGURES.get(path.stem)
    title, unit = _TITLES.get(path.stem, (path.stem, "") if label is None else (label.title, label.unit))
    return Drawn(path.stem, title, unit, columns, rows[:MOST_ROWS], max(len(rows) - MOST_ROWS, 0))


def _shown(lines: list[list[str]]) -> list[list[str]]:
    """Return the lines of a table, the header first; those of cases.csv are made for reading, others stay as they are.

    Made-up objects, JSON in the file, become words: `crescent (stereotype)`. A column without any value is left out.
    """
    header, *rows = lines
    if ABSENT not in header:
        return lines
    objects = header.index(ABSENT)
    kept = [
        at for at in range(len(header)) if not rows or any(row[at : at + 1] not in ([], [""]) for row in rows)
    ]
    said = [[_objects(cell) if at == objects else cell for at, cell in enumerate(row)] for row in rows]
    return [[row[at] for at in kept if at < len(row)] for row in (header, *said)]


def _objects(cell: str) -> str:
    """Return the objects of a cell in words; the cell itself where it is not what `summarize` writes."""
    try:
        return ", ".join(
            f"{one['object']} ({one['mistake']})" if one["mistake"] else one["object"]
            for one in json.loads(cell)
        )
    except (ValueError, TypeError, KeyError):
        return cell
