"""Parquet tables: written atomically, checked on reading; and shards that survive an interruption.

A table holds the rows of one record type (`csrdata.records`) and a checksum, so a reader notices any changed byte. A
`ShardStore` is a folder of such tables with a manifest (`csrdata.storage.shard_manifest`) of their hashes and of the
fingerprint of their inputs. Complete, unchanged and still valid shards are kept; the others are made again.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import polars as pl

from csrdata.columns import columns, nested
from csrdata.errors import UserError
from csrdata.records import Record
from csrdata.storage import shard_manifest
from csrdata.storage.disk import (
    PARTIAL,
    atomic_file,
    atomic_folder,
    hash_path,
    read_json,
    remove_if_dead,
    write_json,
)
from csrdata.storage.shard_manifest import ShardFile, ShardManifest
from csrdata.storage.unreadable import UNREADABLE
from csrdata.storage.values import check_values

__all__ = [
    "PARTIAL",
    "ShardStore",
    "atomic_file",
    "atomic_folder",
    "check_schema",
    "fingerprint",
    "from_table",
    "hash_path",
    "read_json",
    "read_parquet",
    "read_rows",
    "read_table",
    "schema",
    "seal",
    "to_table",
    "write_json",
    "write_rows",
    "write_table",
]

SUM = "csrdata:sha256"
"""Key of a table's checksum in the metadata of its Parquet file."""
_NO_SUM = "0" * 64
_SUM_AT = re.compile(SUM.encode() + rb".{1,4}?([0-9a-f]{64})", re.DOTALL)

T = TypeVar("T")


def schema(record: Record) -> dict[str, pl.DataType]:
    """Return the polars schema of a record's table."""
    return {column.name: _dtype(column.dtype) for column in columns(record)}


def to_table(rows: Iterable[Any], record: Record) -> pl.DataFrame:
    """Turn records into a table; without records, the table is empty but has all columns."""
    rows, types = list(rows), schema(record)
    within = {column.name: name for name, inner in nested(record).items() for column in columns(inner)}
    read = {name: attrgetter(f"{within[name]}.{name}" if name in within else name) for name in types}
    return pl.DataFrame({name: [get(row) for row in rows] for name, get in read.items()}, schema=types)


def from_table(table: pl.DataFrame, record: type[T]) -> list[T]:
    """Turn a table back into records. Columns that the record does not have are ignored."""
    values = {name: table[name].to_list() for name in table.columns}
    for name, one in nested(record).items():  # type: ignore[arg-type]
        values[name] = list(map(one, *(values[column.name] for column in columns(one))))
    return list(map(record, *(values[field.name] for field in fields(record))))  # type: ignore[arg-type]


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table atomically, with its checksum."""
    # Encoded in memory first: if the disk gets full at the end of a file, polars reports only "Invalid thrift".
    file = io.BytesIO()
    table.write_parquet(file, compression="zstd", statistics=True, metadata={SUM: _NO_SUM})
    place = _place_of_sum(file)
    if place is None:
        raise ValueError(f"polars left {SUM} out of the metadata of {path}")
    written = _sum_without(file, place)
    file.seek(place)
    file.write(written.encode())
    with atomic_file(path) as partial:
        partial.write_bytes(file.getbuffer())


def write_rows(path: Path, rows: Iterable[Any], record: Record) -> None:
    """Write records as a table, atomically."""
    write_table(path, to_table(rows, record))


def read_table(path: Path, record: Record, *, made_by: str) -> pl.DataFrame:
    """Read a table, and check its checksum, columns and values; for shards, check the manifest of their folder too.

    Args:
        path: a Parquet file, a shard, or a folder of shards, which are read in order.
        record: the type of the rows.
        made_by: the command that makes the table, as an error's next command.

    Raises:
        UserError: the file is missing, unreadable or changed; a column is missing or of another type; a value is null or
            invalid; a shard is missing, unfinished, not listed, or different from the one that the manifest lists.
    """
    if path.is_dir():
        manifest = shard_manifest.check_shards(path, made_by=made_by)
        shards = [_read_file(path / name, record, made_by=made_by) for name in manifest.names()]
        table = pl.concat(shards)
        if (
            len(shards) > 1
        ):  # each shard is valid by itself; order and uniqueness must also hold across shards
            check_values(table, record, place=str(path), made_by=made_by)
        return table
    _check_listed(path, made_by=made_by)
    return _read_file(path, record, made_by=made_by)


def read_rows(path: Path, record: type[T], *, made_by: str) -> list[T]:
    """Read a table as records; arguments and errors are those of `read_table`."""
    return from_table(read_table(path, record, made_by=made_by), record)  # type: ignore[arg-type]


def read_parquet(path: Path, *, made_by: str, **options: Any) -> pl.DataFrame:
    """Read any Parquet file; if it has a checksum, check it.

    Args:
        path: the file.
        made_by: the command that makes the file, as an error's next command.
        options: keyword arguments of `polars.read_parquet`.

    Raises:
        UserError: the file is missing, unreadable or changed.
    """
    if not path.is_file():
        raise UserError(str(path), got="no such table", expected="a Parquet file", do=made_by)
    try:
        with path.open("rb") as file:
            place = _place_of_sum(file)
            if place is not None:
                file.seek(place)
                if file.read(len(_NO_SUM)).decode() != _sum_without(file, place):
                    raise UserError(
                        str(path),
                        got="other bytes than were written",
                        expected="a table that matches its checksum",
                        do=made_by,
                    )
        return pl.read_parquet(path, **options)
    except UNREADABLE as error:
        if isinstance(error, PermissionError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(str(path), got=first, expected="a readable Parquet file", do=made_by) from None


def seal(folder: Path, record: Record, *, fingerprint: dict[str, str]) -> None:
    """Write the manifest of a folder of complete shards that no `ShardStore` wrote, such as shards from a release.

    Args:
        folder: holds `00000.parquet`, `00001.parquet`, ... without a gap.
        record: the type of the rows.
        fingerprint: of the shards' inputs; a stage keeps the shards only if this equals its own fingerprint.

    Raises:
        UserError: a shard is missing or invalid.
    """
    names = [shard_manifest.shard_name(index) for index, _ in enumerate(folder.glob("*.parquet"))]
    files = {name: _describe(folder / name, record) for name in names}
    shard_manifest.write_manifest(folder, ShardManifest(fingerprint, len(names), files))


class ShardStore:
    """A folder of shards, `00000.parquet`, `00001.parquet`, ..., and their manifest.

    A shard is valid if the manifest or a separate record (`csrdata.storage.shard_shares`) lists it under the current
    fingerprint, its bytes are unchanged, and it can be read.
    Opening a store changes no file: an invalid shard stays until a new one replaces it or `finish` removes it. Any process
    may call `write`; only one process calls `add` and `finish`.
    """

    def __init__(self, folder: Path, record: Record, *, fingerprint: dict[str, str], shards: int) -> None:
        self.folder, self.record = folder, record
        self.empty = ShardManifest(fingerprint, shards)
        """The manifest before any shard is finished."""
        self._manifest = self.empty

    def path(self, index: int) -> Path:
        return self.folder / shard_manifest.shard_name(index)

    def own(self) -> list[int]:
        """Return the indices of the shards that this process is to make or to keep, in order: all of them."""
        return list(range(self.empty.shards))

    def missing(self) -> list[int]:
        """Return the indices of the shards that must still be made, in order."""
        names = {self.path(index).name: index for index in self.own()}
        good = {name: one for name, one in self.listed(names).items() if self._is_good(name, one)}
        self._manifest = self._with(good)
        return [index for name, index in names.items() if name not in good]

    def listed(self, names: Iterable[str]) -> dict[str, ShardFile]:
        """Return those of the named shards that the manifest or a record lists under the current fingerprint.

        Records are read first: whoever removes them has written the manifest before. Where both list a shard, the record
        counts, because it is newer.
        """
        names = list(names)
        records = shard_manifest.load_records(self.folder, self.empty, names)
        found = shard_manifest.load_manifest(self.folder)
        same = found is not None and (found.fingerprint, found.shards) == (
            self.empty.fingerprint,
            self.empty.shards,
        )
        files = found.files if found is not None and same else {}
        return {name: files[name] for name in names if name in files} | records

    def write(self, index: int, rows: Sequence[Any]) -> ShardFile:
        """Write a shard, and return its description for `add`.

        Raises:
            ValueError: a reader would refuse a value. This is a bug of the worker; nothing is written.
        """
        path, table = self.path(index), to_table(rows, self.record)
        try:
            _check_rows(table, self.record, place=str(path), made_by="fix the worker")
        except UserError as error:
            raise ValueError(str(error)) from None
        write_table(path, table)
        return ShardFile(rows=len(table), sha256=hash_path(path))

    def add(self, index: int, written: ShardFile) -> None:
        """Add a finished shard to the manifest. If the process is killed before this, the shard is made again."""
        self._manifest = self._with(self._manifest.files | {self.path(index).name: written})
        shard_manifest.write_manifest(self.folder, self._manifest)

    def finish(self) -> None:
        """Write the manifest; remove records, shards beyond its number of shards, and files that dead writers left."""
        if shard_manifest.load_manifest(self.folder) != self._manifest:
            shard_manifest.write_manifest(self.folder, self._manifest)
        names = set(self._manifest.names())
        for path in sorted(self.folder.iterdir()):
            if path.suffix == PARTIAL:
                remove_if_dead(path)
            elif shard_manifest.is_record(path) or (path.suffix == ".parquet" and path.name not in names):
                path.unlink(missing_ok=True)

    def _with(self, files: Mapping[str, ShardFile]) -> ShardManifest:
        return ShardManifest(self.empty.fingerprint, self.empty.shards, dict(files))

    def _is_good(self, name: str, listed: ShardFile) -> bool:
        try:
            return _describe(self.folder / name, self.record).same_bytes(listed)
        except UserError:
            return False


def fingerprint(**parts: object) -> dict[str, str]:
    """Return a hash for each input of a result: of the content for a path, of the JSON for any other value.

    Example: `fingerprint(prompts=Path("a.parquet"), params={"groups": 5})` -> `{"params": "9f...", "prompts": "3a..."}`
    """
    return {name: _digest(part) for name, part in sorted(parts.items())}


def _digest(part: object) -> str:
    if isinstance(part, Path):
        return hash_path(part)
    if isinstance(part, list | tuple) and part and all(isinstance(item, Path) for item in part):
        return hashlib.sha256("".join(hash_path(item) for item in part).encode()).hexdigest()
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _read_file(path: Path, record: Record, *, made_by: str) -> pl.DataFrame:
    """Read one table or shard and check it."""
    table = read_parquet(path, made_by=made_by)
    check_schema(table, schema(record), place=str(path), made_by=made_by)
    table = table.select([column.name for column in columns(record)])
    _check_rows(table, record, place=str(path), made_by=made_by)
    return table


def _check_rows(table: pl.DataFrame, record: Record, *, place: str, made_by: str) -> None:
    """Check the values of a table with its record's columns and types: nulls only where allowed, and no rule is broken."""
    for column in columns(record):
        if not column.nullable and table[column.name].null_count():
            row = table[column.name].is_null().arg_true()[0]
            raise UserError(
                f"{place}: column {column.name}: row {row}", got="null", expected=column.dtype, do=made_by
            )
    check_values(table, record, place=place, made_by=made_by)


def check_schema(table: pl.DataFrame, wanted: Mapping[str, pl.DataType], *, place: str, made_by: str) -> None:
    """Check that a table has the wanted columns, with the right types; other columns are ignored.

    Raises:
        UserError: a column is missing or has another type.
    """
    for name, dtype in wanted.items():
        got = str(table.schema[name]) if name in table.columns else "no such column"
        if got == "no such column" or table.schema[name] != dtype:
            raise UserError(f"{place}: column {name}", got=got, expected=str(dtype), do=made_by)


def _check_listed(path: Path, *, made_by: str) -> None:
    """Compare a shard with the manifest of its folder, if the folder has one."""
    manifest = shard_manifest.load_manifest(path.parent)
    if manifest is None or not path.is_file():
        return
    if path.name not in manifest.files:
        raise UserError(str(path), got="a shard that is not listed", expected=shard_manifest.FILE, do=made_by)
    shard_manifest.check_bytes(path, manifest.files[path.name], made_by=made_by)


def _describe(path: Path, record: Record) -> ShardFile:
    """Read and check a shard, and return its number of rows and its hash."""
    rows = len(_read_file(path, record, made_by="the same command again"))
    return ShardFile(rows=rows, sha256=hash_path(path))


def _place_of_sum(file: BinaryIO) -> int | None:
    """Return the offset of the 64 digits of a table's checksum; None if it has no checksum.

    A Parquet file ends with its metadata, their length in 4 bytes, and `PAR1`.
    """
    size = file.seek(0, os.SEEK_END)
    if size < 12:  # `PAR1` at both ends, and the length
        return None
    file.seek(size - 8)
    start = size - 8 - int.from_bytes(file.read(4), "little")
    if start < 4 or file.read(4) != b"PAR1":
        return None
    file.seek(start)
    found = _SUM_AT.search(file.read(size - 8 - start))
    return None if found is None else start + found.start(1)


def _sum_without(file: BinaryIO, place: int) -> str:
    """Return the SHA-256 of a file in which the 64 digits at `place` are replaced by zeros."""
    digest = hashlib.sha256()
    file.seek(0)
    for size, counts in ((place, True), (len(_NO_SUM), False), (None, True)):
        for block in _blocks(file, size):
            digest.update(block if counts else b"0" * len(block))
    return digest.hexdigest()


def _blocks(file: BinaryIO, size: int | None, *, most: int = 1 << 20) -> Iterator[bytes]:
    """Yield the next `size` bytes, or all remaining ones, in blocks of at most `most` bytes."""
    while size is None or size > 0:
        block = file.read(most if size is None else min(most, size))
        if not block:
            return
        size = None if size is None else size - len(block)
        yield block


def _dtype(name: str) -> pl.DataType:
    if name.startswith("List("):
        return pl.List(_dtype(name[5:-1]))
    return getattr(pl, name)()  # type: ignore[no-any-return]
