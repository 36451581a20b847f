"""Any file of preference pairs as one table with the columns of `Pair`, for figures: nothing is copied, no image is read.

A Parquet file with texts in the standard columns is scanned, so that its texts need never be in memory together. Rows of any
other layout are read one by one. A row that has no pair is counted with its reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from csrdata.errors import UserError
from csrdata.records import Dropped, DropReason, Pair
from csrdata.sources.imported.formats import NoPair
from csrdata.sources.imported.layouts import LAYOUTS, layout_of
from csrdata.sources.imported.reading import rows
from csrdata.storage.tables import schema, to_table
from csrdata.storage.unreadable import UNREADABLE
from csrdata.storage.values import MAX_TEXT

TEXTS = ("prompt", "chosen", "rejected")
DO = "csrdata stats --help"
UNKNOWN = "unknown"
"""The origin of pairs that name none."""
MOST_CHARACTERS = 64
"""Of an origin that a file names."""


@dataclass(frozen=True, slots=True)
class AnyPairs:
    """The pairs of a file."""

    pairs: pl.LazyFrame
    """With the columns of `Pair`; what the file does not say is null."""
    dropped: pl.DataFrame
    """`Dropped` rows: one for each row of the file without a pair."""


def read_any(path: Path) -> AnyPairs:
    """Return the pairs of a Parquet, JSON or JSON Lines file.

    Raises:
        UserError: the file is missing, damaged, or of no layout that is known.
    """
    if path.suffix.lower() == ".parquet" and path.is_file():
        found = _scan(path)
        if found is not None:
            return found
    return _read(path)


def _scan(path: Path) -> AnyPairs | None:
    """Return the pairs of a Parquet file with texts in the standard columns; None for another layout."""
    try:
        table = pl.scan_parquet(path, glob=False)
        known = table.collect_schema()
        if any(known.get(name) != pl.String for name in TEXTS):
            return None
        table = _standard(table.with_row_index("row"), known)
        good = pl.all_horizontal(pl.col(name).is_not_null() for name in TEXTS) & pl.any_horizontal(
            pl.col(name) != "" for name in ("chosen", "rejected")
        )
        bad = table.filter(~good).select("prompt_id").collect(engine="streaming")
    except UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(str(path), got=first, expected="a readable Parquet file of pairs", do=DO) from None
    dropped = bad.with_columns(reason=pl.lit(DropReason.BAD_ROW.value), detail=pl.lit("a text is missing"))
    return AnyPairs(table.filter(good), dropped.cast(schema(Dropped)))  # type: ignore[arg-type]


def _standard(table: pl.LazyFrame, known: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Return a table with the columns of `Pair`; a column of another type than `Pair` has is read as unknown."""
    defaults: dict[str, Any] = {
        "number": 0,
        "context": "",
        "chosen_complete": True,
        "rejected_complete": True,
    }
    columns = []
    for name, dtype in schema(Pair).items():
        usable = name in known and (known[name] == dtype or (known[name].is_numeric() and dtype.is_numeric()))
        default = pl.lit(defaults.get(name), dtype)
        column = pl.col(name).cast(dtype, strict=False) if usable else default
        if name in defaults:
            column = column.fill_null(default)
        if name == "prompt_id" and not usable:
            column = pl.format("row-{}", "row")
        if name == "origin":
            column = column.fill_null(UNKNOWN).str.slice(0, MOST_CHARACTERS)
        columns.append(column.alias(name))
    return table.select(columns)


def _read(path: Path) -> AnyPairs:
    """Return the pairs of rows of any layout: the first row says which."""
    found: dict[str, list[Any]] = {name: [] for name in ("prompt_id", "image", *TEXTS, "origin")}
    dropped: list[Dropped] = []
    read = None
    for number, row in enumerate(rows(path, _columns(path))):
        if read is None:
            _, read = layout_of(row, place=str(path))
        row_id = f"row-{number}"
        try:
            pair = read(row)
            texts = [_text(name, getattr(pair, name)) for name in TEXTS]
        except (UserError, NoPair) as error:
            reason = error.reason if isinstance(error, NoPair) else DropReason.BAD_ROW
            dropped.append(Dropped(row_id, reason.value, str(error)[:400]))
            continue
        named = row.get("prompt_id")
        origin = row.get("origin")
        values = (
            named if isinstance(named, str) and named else row_id,
            _image(pair.image),
            *texts,
            origin[:MOST_CHARACTERS] if isinstance(origin, str) and origin else UNKNOWN,
        )
        for column, value in zip(found.values(), values, strict=True):
            column.append(value)
    if read is None:
        raise UserError(str(path), got="no row", expected=LAYOUTS, do=DO)
    table = pl.DataFrame(found, schema=dict.fromkeys(found, pl.String)).lazy().with_row_index("row")
    return AnyPairs(_standard(table, dict.fromkeys(found, pl.String())), to_table(dropped, Dropped))


def _columns(path: Path) -> list[str]:
    """Return the columns of a Parquet file; none for JSON, whose rows have all their keys."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return []
    try:
        return pl.scan_parquet(path, glob=False).collect_schema().names()
    except UNREADABLE:
        return list(TEXTS)  # `rows` says what is wrong


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        got = f"{len(value):,} characters" if isinstance(value, str) else value
        raise UserError(name, got=got, expected=f"a text of 1 to {MAX_TEXT:,} characters", do=DO)
    return value.encode("utf-8", "replace").decode()


def _image(value: object) -> str | None:
    """Return what tells a row's image from others: its path, or the hash of its bytes; None where it names none."""
    if isinstance(value, Mapping):
        content = value.get("bytes")
        value = sha256(content).hexdigest() if isinstance(content, bytes) else value.get("path")
    if isinstance(value, bytes):
        return sha256(value).hexdigest()
    return value if isinstance(value, str) else None
