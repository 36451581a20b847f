"""Parquet tables: written whole or not at all, checked on reading; shards that survive a kill.

A table holds the rows of one record type (`csrdata.records`). `write_table` goes through a temporary file and a
rename, so that a reader sees the old bytes or the new ones. A `ShardStore` is a folder of such tables with a manifest
that says which inputs they are good for: what is complete and still valid is kept, the rest is made again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from csrdata.errors import UserError
from csrdata.records import Record, columns
from csrdata.values import check_values

PARTIAL = ".partial"
"""Suffix of a file or folder that is being written."""

T = TypeVar("T")


def schema(record: Record) -> dict[str, pl.DataType]:
    """Return the polars schema of a record's table."""
    return {column.name: _dtype(column.dtype) for column in columns(record)}


def to_table(rows: Iterable[Any], record: Record) -> pl.DataFrame:
    """Turn records into a table; no rows give an empty table with the right columns."""
    rows, types = list(rows), schema(record)
    return pl.DataFrame({name: [getattr(row, name) for row in rows] for name in types}, schema=types)


def from_table(table: pl.DataFrame, record: type[T]) -> list[T]:
    """Turn a table back into records."""
    return [record(**row) for row in table.iter_rows(named=True)]


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table atomically: the file is whole or it is not there."""
    with atomic_file(path) as partial:
        table.write_parquet(partial, compression="zstd", statistics=True)


def write_rows(path: Path, rows: Iterable[Any], record: Record) -> None:
    """Write records as a table, atomically."""
    write_table(path, to_table(rows, record))


def read_table(path: Path, record: Record, *, made_by: str) -> pl.DataFrame:
    """Read a table and hold it against its record's schema.

    Args:
        path: a Parquet file, or a folder of shards that are read in the order of their names.
        made_by: the command that makes the table, for the error's last words.

    Raises:
        UserError: the file is missing or unreadable, or a column is missing, of another type, or null where it may not be.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise UserError(str(path), got="no such table", expected="a Parquet file", do=made_by)
    tables = [_read_file(file, record, made_by=made_by) for file in files]
    return pl.concat(tables)


def read_rows(path: Path, record: type[T], *, made_by: str) -> list[T]:
    """Read a table as records; the errors are `read_table`'s."""
    return from_table(read_table(path, record, made_by=made_by), record)  # type: ignore[arg-type]


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, keys sorted, so that equal values are equal bytes."""
    with atomic_file(path) as partial:
        partial.write_text(
            json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path, *, made_by: str) -> Any:
    """Read a JSON file that a stage wrote.

    Raises:
        UserError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(path), got="no such file", expected="a JSON file", do=made_by) from None
    except json.JSONDecodeError as error:
        raise UserError(
            str(path), got=f"line {error.lineno}: {error.msg}", expected="JSON", do=made_by
        ) from None


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes its place, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; on success it takes its place, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class ShardStore:
    """A folder of shards, `00000.parquet` upwards, and the manifest that says what they were made from.

    A shard is good when it is complete (it was renamed into place), reads back, and the manifest's fingerprint is the
    present one. Opening the store with another fingerprint empties it.
    """

    def __init__(self, folder: Path, record: Record, *, fingerprint: dict[str, str], shards: int) -> None:
        self.folder, self.record, self.shards = folder, record, shards
        manifest = {"fingerprint": fingerprint, "shards": shards}
        path = folder / "manifest.json"
        if _load(path) != manifest:
            shutil.rmtree(folder, ignore_errors=True)
            write_json(path, manifest)
        for leftover in folder.glob(f"*{PARTIAL}"):
            leftover.unlink()
        kept = {self.path(index).name for index in range(shards)} | {path.name}
        for stranger in folder.iterdir():
            if stranger.name not in kept:
                stranger.unlink()

    def path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.parquet"

    def missing(self) -> list[int]:
        """Return the shards that are still to be made, in order; one that does not read back is made again."""
        return [index for index in range(self.shards) if not self._is_good(index)]

    def write(self, index: int, rows: Sequence[Any]) -> None:
        write_rows(self.path(index), rows, self.record)

    def _is_good(self, index: int) -> bool:
        if not self.path(index).is_file():
            return False
        try:
            read_table(self.path(index), self.record, made_by="")
        except UserError:
            return False
        return True


def fingerprint(**parts: object) -> dict[str, str]:
    """Name what a result depends on: a path by its content's hash, anything else by its JSON's.

    Example: `fingerprint(prompts=Path("a.parquet"), params={"groups": 5})` -> `{"params": "9f...", "prompts": "3a..."}`
    """
    return {name: _digest(part) for name, part in sorted(parts.items())}


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and contents."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(f"{part.relative_to(path).as_posix()} {hash_path(part)}\n".encode())
    return digest.hexdigest()


def _digest(part: object) -> str:
    if isinstance(part, Path):
        return hash_path(part)
    if isinstance(part, list | tuple) and part and all(isinstance(item, Path) for item in part):
        return hashlib.sha256("".join(hash_path(item) for item in part).encode()).hexdigest()
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _load(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def _read_file(path: Path, record: Record, *, made_by: str) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        first = str(error).splitlines()[0]
        raise UserError(str(path), got=first, expected="a readable Parquet file", do=made_by) from None
    for column in columns(record):
        place = f"{path}: column {column.name}"
        if column.name not in table.columns:
            raise UserError(place, got="no such column", expected=column.dtype, do=made_by)
        if table.schema[column.name] != _dtype(column.dtype):
            raise UserError(place, got=str(table.schema[column.name]), expected=column.dtype, do=made_by)
        if not column.nullable and table[column.name].null_count():
            row = table[column.name].is_null().arg_true()[0]
            raise UserError(f"{place}: row {row}", got="null", expected=column.dtype, do=made_by)
    table = table.select([column.name for column in columns(record)])
    check_values(table, record, place=str(path), made_by=made_by)
    return table


def _dtype(name: str) -> pl.DataType:
    if name.startswith("List("):
        return pl.List(_dtype(name[5:-1]))
    return getattr(pl, name)()  # type: ignore[no-any-return]
