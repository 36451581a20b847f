"""A folder of shards, read by ranges of prompts: memory depends on the size of a shard, not on the number of prompts."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from csrdata.records import Record
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import from_table, read_table
from csrdata.storage.values import check_values

_SHARDS_HELD = 4
"""Shards in memory: ranges and shards overlap, and a shard is read once where the ranges come in order."""


class ShardRanges:
    """The shards of a folder, and the first and the last prompt of each.

    Args:
        folder: the shards and their manifest.
        record: the type of the rows, which has a `prompt_id`.
        made_by: the command that makes the shards, as an error's next command.

    Raises:
        UserError: a shard is missing, unfinished, not listed or changed. Its values are checked when it is read.
    """

    def __init__(self, folder: Path, record: Record, *, made_by: str) -> None:
        self._record, self._made_by = record, made_by
        self._folder = folder
        self._held: OrderedDict[Path, pl.DataFrame] = OrderedDict()
        found = ((_ends(path), path) for path in self._paths())
        self._spans = sorted((*ends, path) for ends, path in found if ends is not None)
        self._disjoint = all(one[1] < other[0] for one, other in pairwise(self._spans))

    def _paths(self) -> Iterator[Path]:
        for name in check_shards(self._folder, made_by=self._made_by).names():
            yield self._folder / name

    def scan(self) -> pl.LazyFrame | None:
        """Return all rows, unread and in no certain order; None without rows."""
        return pl.scan_parquet([path for *_, path in self._spans]) if self._spans else None

    def rows(self, first: str, last: str) -> pl.DataFrame | None:
        """Return the rows of the prompts from `first` to `last`, both included; None if no shard has any.

        Raises:
            UserError: a value is invalid, or two shards have the same row.
        """
        wanted = pl.col("prompt_id").is_between(pl.lit(first), pl.lit(last))
        found = [
            self._read(path).filter(wanted)
            for low, high, path in self._spans
            if low <= last and first <= high
        ]
        if not found:
            return None
        rows = pl.concat(found)
        if len(found) > 1 and not self._disjoint:
            check_values(rows, self._record, place=str(self._folder), made_by=self._made_by)
        return rows

    def by_prompt(self, first: str, last: str) -> dict[str, list[Any]]:
        """Return the rows of a range as records, by prompt, in their order; errors are those of `rows`."""
        table = self.rows(first, last)
        rows: list[Any] = [] if table is None else from_table(table, self._record)
        found: dict[str, list[Any]] = {}
        for row in rows:
            found.setdefault(row.prompt_id, []).append(row)
        return found

    def _read(self, path: Path) -> pl.DataFrame:
        if path not in self._held:
            self._held[path] = read_table(path, self._record, made_by=self._made_by)
        self._held.move_to_end(path)
        while len(self._held) > _SHARDS_HELD:
            self._held.popitem(last=False)
        return self._held[path]


def _ends(path: Path) -> tuple[str, str] | None:
    """Return the first and the last prompt of a shard; None for an empty one."""
    ends = pl.scan_parquet(path).select(low=pl.col("prompt_id").min(), high=pl.col("prompt_id").max())
    low, high = ends.collect().row(0)
    return None if low is None else (low, high)
