"""A series of the report: the tables of one iteration of a source, read one range of prompts after the other.

Memory depends on the size of a range, not on the number of pairs. A checksum is checked before the first range is read, the
values when their range is read. A series may lack tables: pairs of others have no search, a git revision gives pairs alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from csrdata.evaluation.scorecard import Known
from csrdata.records import Dropped, Pair, Prompt, Record, Response, Sentence, Signal
from csrdata.storage.dropped import lost_prompts
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.shard_ranges import ShardRanges
from csrdata.storage.tables import check_schema, from_table, read_parquet, schema
from csrdata.storage.values import check_values

T = TypeVar("T")
HELD_OUT = "held_out"
"""The name of the signal that the report shows next to the search's relevance."""


@dataclass(frozen=True, slots=True)
class Series:
    """One iteration of one source, as the report shows it."""

    label: str
    """Its name in the page: `iteration 2`, `v1.0, iteration 2`."""
    source: str
    """What it comes from, in the user's words; iterations of equal source are compared first."""
    tables: IterationTables
    """Paths; `prompts`, `candidates` and `responses` may be missing."""
    signals: Path | None = None
    """A folder of shards of `Signal` rows."""
    known: Known | None = None
    """The truth about the images, by image."""


@dataclass(frozen=True, slots=True)
class Range:
    """The rows of a range of prompts, by prompt id."""

    prompts: dict[str, Prompt]
    sentences: dict[str, list[Sentence]]
    responses: dict[str, list[Response]]
    held_out: dict[tuple[str, int], float | None]
    """By prompt and node."""
    pairs: dict[str, list[Pair]]
    dropped: dict[str, Dropped]
    """Prompts without a pair."""


class SeriesReader:
    """Reads a series range by range.

    Args:
        series: what to read.

    Raises:
        UserError: a table is damaged, or has other columns.
    """

    def __init__(self, series: Series) -> None:
        tables, name = series.tables, series.tables.name
        self.series = series
        self.pairs = _checked(tables.pairs, Pair, made_by=f"dvc repro select_pairs@{name}")
        self.dropped = _checked(tables.dropped, Dropped, made_by=f"dvc repro select_pairs@{name}")
        self.lost = lost_prompts(self.dropped, self.pairs)
        self.prompts = (
            _checked(tables.prompts, Prompt, made_by="dvc repro sample_prompts")
            if tables.prompts.is_file()
            else None
        )
        self.candidates = _shards(tables.candidates, Sentence, made_by=f"dvc repro generate_beams@{name}")
        self.responses = _shards(tables.responses, Response, made_by=f"dvc repro score_beams@{name}")
        self.signals = (
            None
            if series.signals is None
            else _shards(series.signals, Signal, made_by=f"dvc repro measure_signals@{name}")
        )

    def ids(self) -> pl.Series:
        """Return the ids of all prompts, with or without pairs, sorted."""
        tables = [table for table in (self.prompts, self.pairs, self.lost) if table is not None]
        found = pl.concat([table.select("prompt_id") for table in tables]).unique()
        return found.collect()["prompt_id"].sort()

    def read(self, first: str, last: str) -> Range:
        """Return the rows of the prompts from `first` to `last`, both included."""
        tables = self.series.tables
        found = _table(self.pairs, Pair, first, last, place=tables.pairs)
        pairs = from_table(found, Pair)
        prompts = (
            [Prompt(pair.prompt_id, pair.image, pair.prompt) for pair in pairs]
            if self.prompts is None
            else from_table(_table(self.prompts, Prompt, first, last, place=tables.prompts), Prompt)
        )
        held_out: list[Signal] = []
        if self.signals is not None and (signals := self.signals.rows(first, last)) is not None:
            held_out = from_table(signals.filter(pl.col("name") == HELD_OUT), Signal)
        dropped = _table(self.dropped, Dropped, first, last, place=tables.dropped)
        lost = from_table(lost_prompts(dropped.lazy(), found.lazy()).collect(), Dropped)
        return Range(
            prompts={prompt.prompt_id: prompt for prompt in prompts},
            sentences=_by_prompt(self.candidates, first, last),
            responses=_by_prompt(self.responses, first, last),
            held_out={(row.prompt_id, row.node_id): row.value for row in held_out},
            pairs=_grouped(pairs),
            dropped={row.prompt_id: row for row in lost},
        )

    def scan(self, shards: ShardRanges | None) -> pl.LazyFrame | None:
        """Return all rows of a folder of shards, unread; None if the series has no such folder."""
        return None if shards is None else shards.scan()


def ranges(ids: pl.Series, *, size: int) -> Iterator[list[str]]:
    """Yield the ids of all prompts in ranges of at most `size`."""
    for begin in range(0, len(ids), size):
        yield ids[begin : begin + size].to_list()


def _checked(path: Path, record: type, *, made_by: str) -> pl.LazyFrame:
    """Check a table's checksum and columns, and return it unread."""
    check_schema(
        read_parquet(path, made_by=made_by, n_rows=0), schema(record), place=str(path), made_by=made_by
    )
    return pl.scan_parquet(path)


def _shards(folder: Path, record: Record, *, made_by: str) -> ShardRanges | None:
    """Return the shards of a folder; None if there is no folder."""
    return ShardRanges(folder, record, made_by=made_by) if folder.is_dir() else None


def _table(table: pl.LazyFrame, record: Record, first: str, last: str, *, place: Path) -> pl.DataFrame:
    """Read the rows of a range, and check their values."""
    found = table.filter(pl.col("prompt_id").is_between(pl.lit(first), pl.lit(last))).collect()
    if len(found):  # another series may have prompts where this one has none
        check_values(found, record, place=str(place), made_by="dvc repro")
    return found


def _by_prompt(shards: ShardRanges | None, first: str, last: str) -> dict[str, list[Any]]:
    return {} if shards is None else shards.by_prompt(first, last)


def _grouped(rows: list[T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(row.prompt_id, []).append(row)  # type: ignore[attr-defined]
    return found
