"""Rows of files of preference pairs: Parquet, a JSON list, or JSON Lines. Rows stream, except those of a JSON list."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from csrdata.errors import UserError
from csrdata.sources.imported.formats import DO
from csrdata.sources.llava import read_list
from csrdata.storage.lines import read_json_lines
from csrdata.storage.unreadable import UNREADABLE

SUFFIXES = (".parquet", ".json", ".jsonl")
ROWS = 64
"""Rows of a Parquet file in memory: each may hold the bytes of an image."""


def rows(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file.

    Args:
        path: its suffix says what it is.
        columns: those to read of a Parquet file that has them; a row of JSON has all its keys.

    Raises:
        UserError: the file is missing or of another kind, is damaged, or has none of the columns.
    """
    if not path.is_file():
        raise UserError(str(path), got="no such file", expected="a file of pairs", do="correct the path")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        expected = f"a name that ends with one of {', '.join(SUFFIXES)}"
        raise UserError(str(path), got=suffix or "no suffix", expected=expected, do=DO)
    try:
        match suffix:
            case ".parquet":
                yield from _parquet(path, columns)
            case ".jsonl":
                yield from (values for _, values in read_json_lines(path))
            case _:
                yield from _list(path)
    except UserError as error:
        raise UserError(error.place, got=error.got, expected=error.expected, do=DO) from None


def _list(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(read_list(path)):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number}", got=row, expected="an object", do=DO)
        yield row


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    try:
        table = pl.scan_parquet(path, glob=False)
        names = table.collect_schema().names()
        wanted = [name for name in columns if name in names]
        if not wanted:
            expected = f"a column of {', '.join(columns)}"
            raise UserError(f"{path}: columns", got=", ".join(names), expected=expected, do=DO)
        for batch in table.select(wanted).collect_batches(chunk_size=ROWS):
            yield from batch.iter_rows(named=True)
    except UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(str(path), got=first, expected="a readable Parquet file", do=DO) from None
