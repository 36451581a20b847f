"""A table as a source: JSON Lines, CSV or Parquet with an image and a prompt column.

Rows stream: a file may have any size.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.records import Prompt
from csrdata.sources.rows import (
    Row,
    column,
    missing_column,
    parse_id,
    parse_image,
    parse_kind,
    parse_text,
    wrong,
)
from csrdata.sources.sampling import sample
from csrdata.sources.unannotated import Unannotated
from csrdata.storage.lines import read_json_lines, read_lines
from csrdata.storage.unreadable import UNREADABLE

FORMATS = (".jsonl", ".csv", ".parquet")
BATCH = 10_000
"""Rows of a Parquet file in memory."""
ONE_KIND = "prompts"
"""The kind of all rows where no column names kinds."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; None where the table has none."""

    image: str
    prompt: str
    id: str | None
    """Without one, a row's number is its id: rows may be appended then, but none removed."""
    kind: str | None

    def named(self) -> dict[str, str]:
        """Return the columns that are used, by their keys in params.yaml."""
        keys = {"image": self.image, "prompt": self.prompt, "id": self.id, "kind": self.kind}
        return {f"source.{key}_column": name for key, name in keys.items() if name is not None}


@dataclass(frozen=True)
class Table(Unannotated):
    """A `Source` over one table."""

    path: Path
    """As seen from the project; the suffix says the format."""
    columns: Columns

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        rows = sample(self._rows(), count=count, seed=seed)
        return [Prompt(row.row_id, row.image, row.text) for row in rows]

    def files(self) -> list[Path]:
        return [self.path]

    def revision(self) -> None:
        return None

    def _rows(self) -> Iterator[Row]:
        reader = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}.get(self.path.suffix.lower())
        if reader is None:
            expected = f"a file whose name ends with one of {', '.join(FORMATS)}"
            raise wrong("params.yaml: source.file", self.path.name, expected)
        if not self.path.is_file():
            do = "put it there or correct params.yaml: source.file, then: dvc repro"
            raise UserError(str(self.path), got="no such file", expected="a table of prompts", do=do)
        for number, (place, values) in enumerate(reader(self.path, self.columns)):
            image = column(values, self.columns.image, place=place, key="source.image_column")
            yield Row(
                row_id=row_id(values, self.columns, number, place=place),
                kind=row_kind(values, self.columns, place=place),
                image=parse_image(image, place=place),
                text=row_text(values, self.columns, place=place),
                place=place,
            )


def row_id(values: dict[str, object], columns: Columns, number: int, *, place: str) -> str:
    """Return a row's id, or its number if no column holds ids. Example: 17 -> "row-000000017"."""
    if columns.id is None:
        return f"row-{number:09d}"
    return parse_id(column(values, columns.id, place=place, key="source.id_column"), place=place)


def row_kind(values: dict[str, object], columns: Columns, *, place: str) -> str:
    """Return a row's kind of prompt."""
    if columns.kind is None:
        return ONE_KIND
    return parse_kind(column(values, columns.kind, place=place, key="source.kind_column"), place=place)


def row_text(values: dict[str, object], columns: Columns, *, place: str) -> str:
    """Return a row's instruction."""
    return parse_text(column(values, columns.prompt, place=place, key="source.prompt_column"), place=place)


def _json_lines(path: Path, _columns: Columns) -> Iterator[tuple[str, dict[str, object]]]:
    return read_json_lines(path)


def _csv(path: Path, columns: Columns) -> Iterator[tuple[str, dict[str, object]]]:
    place = f"{path}: line 1"

    def texts() -> Iterator[str]:
        nonlocal place
        for place, line in read_lines(path):  # noqa: B007 - the last line read is where an error is
            yield line

    reader = csv.reader(texts(), strict=True)
    try:
        names = next(reader, None)
        if names is None:
            raise wrong(str(path), "an empty file", "a line of column names, then one line per prompt")
        for key, name in columns.named().items():
            if names.count(name) != 1:
                raise missing_column(name, set(names), place=place, key=key)
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                raise wrong(place, f"{len(values)} fields", f"{len(names)} fields, as in line 1")
            yield place, dict(zip(names, values, strict=True))
    except csv.Error as error:
        raise wrong(place, str(error), "CSV") from None


def _parquet(path: Path, columns: Columns) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        table = pl.scan_parquet(path, glob=False)
        names = table.collect_schema().names()
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    for key, name in columns.named().items():
        if name not in names:
            raise missing_column(name, names, place=str(path), key=key)
    wanted = table.select(*dict.fromkeys(columns.named().values()))
    start = 0
    while True:
        try:
            batch = wanted.slice(start, BATCH).collect()
        except UNREADABLE as error:
            raise _unreadable(path, error) from None
        for number, values in enumerate(batch.iter_rows(named=True), start=start):
            yield f"{path}: row {number}", values
        start += len(batch)
        if len(batch) < BATCH:
            return


def _unreadable(path: Path, error: BaseException) -> UserError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return wrong(str(path), first, "a readable Parquet file")
