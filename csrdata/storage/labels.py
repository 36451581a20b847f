"""A file of labels, as the report exports it: CSV with the columns prompt_id, number, iteration and label.

It comes from a reader's browser or spreadsheet, so that every line is checked.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from csrdata.errors import UserError
from csrdata.search.curation import Key, Label
from csrdata.storage.lines import read_lines
from csrdata.storage.values import MAX_NAME

COLUMNS = ("prompt_id", "number", "iteration", "label")
MOST_BYTES = 500_000_000
DO = "correct the file, then: csrdata curate --labels FILE"


def read_labels(path: Path, *, iteration: str | None = None) -> dict[Key, Label]:
    """Return the labels of an iteration's pairs, by prompt and number; of a pair that was labelled again, the last.

    Args:
        path: the file.
        iteration: its name; None means all iterations together, to check a file.

    Raises:
        UserError: the file is missing or too large, lacks a column, or a line has another number of values, a number that is
            none, or an unknown label.
    """
    if not path.is_file():
        raise UserError(str(path), got="no such file", expected="a CSV file of labels", do=DO)
    if path.stat().st_size > MOST_BYTES:
        got = f"{path.stat().st_size:,} bytes"
        raise UserError(str(path), got=got, expected=f"at most {MOST_BYTES:,}", do=DO)
    found: dict[Key, Label] = {}
    header: list[str] | None = None
    for place, values in _rows(path):
        if header is None:
            header = values
            missing = next((name for name in COLUMNS if name not in header), None)
            if missing is not None:
                raise UserError(f"{path}: columns", got=", ".join(header), expected=", ".join(COLUMNS), do=DO)
            continue
        if not any(values):
            continue
        if len(values) != len(header):
            raise UserError(place, got=f"{len(values)} values", expected=f"{len(header)}", do=DO)
        row = dict(zip(header, values, strict=True))
        key, label = _parsed(row, place=place)
        if iteration is None or row["iteration"] == iteration:
            found[key] = label
    if header is None:
        raise UserError(str(path), got="an empty file", expected=f"a line of {', '.join(COLUMNS)}", do=DO)
    return found


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield place and values of each line; a value with a line break inside is refused."""
    try:
        for place, line in read_lines(path):
            try:
                values = next(csv.reader([line], strict=True), [])
            except csv.Error as error:
                raise UserError(place, got=str(error), expected="one line of CSV", do=DO) from None
            yield place, [value.strip() for value in values]
    except UserError as error:
        raise UserError(error.place, got=error.got, expected=error.expected, do=DO) from None


def _parsed(row: dict[str, str], *, place: str) -> tuple[Key, Label]:
    number, label, prompt_id = row["number"], row["label"], row["prompt_id"]
    if not prompt_id or len(prompt_id) > MAX_NAME:
        raise UserError(f"{place}: prompt_id", got=prompt_id, expected=f"1 to {MAX_NAME} characters", do=DO)
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise UserError(f"{place}: number", got=number, expected="a whole number >= 0", do=DO)
    if label not in set(Label):
        raise UserError(f"{place}: label", got=label, expected=f"one of {', '.join(Label)}", do=DO)
    return (prompt_id, int(number)), Label(label)
