"""Parquet files of a release, streamed: some hundred images or one shard of a table in memory, never a data set.

How rows are cut into files follows from the sizes of what goes in, so that equal inputs give equal files. Pages are cut
by content: after a small change most of a file's chunks are those that the Hub has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from csrdata.errors import UserError
from csrdata.publishing.columns import ITERATION, Images, candidate_features, pair_features, pair_row
from csrdata.publishing.layout import candidate_file, own_table, pair_file
from csrdata.records import Pair, Record, Response, Sentence
from csrdata.tables import read_table, schema

if TYPE_CHECKING:
    import pyarrow as pa

FILE_BYTES = 500_000_000
"""About what a file holds: the size that the Hub's viewer and `datasets` cut files to."""
GROUP_ROWS = 1000
GROUP_BYTES = 16_000_000
"""A row group of pairs ends at the first of the two: to look at one row, little else need be read."""


def write_pairs(
    folder: Path,
    name: str,
    pairs: Sequence[Pair],
    *,
    images: Images,
    root: Path,
    made_by: str,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write an iteration's pairs as TRL reads them.

    Args:
        folder: the release.
        name: the iteration's.
        pairs: one or more, in the order to keep.
        images: whether a row holds its image's bytes.
        root: the folder that image paths are relative to.
        made_by: the command that makes the images, for the error's last words.
        file_bytes: about what a file holds.

    Raises:
        UserError: an image is missing.
    """
    import pyarrow as pa

    embed = images == "embed"
    sizes = [_size(pair, root=root, embed=embed, made_by=made_by) for pair in pairs]
    arrow = pair_features(images).arrow_schema
    files = _cut(sizes, limit=file_bytes)
    for index, (start, end) in enumerate(files):
        with _writer(folder / pair_file(name, index, len(files)), arrow) as write:
            for first, last in _cut(sizes[start:end], limit=GROUP_BYTES, rows=GROUP_ROWS):
                rows = [
                    pair_row(pair, (root / pair.image).read_bytes() if embed else None)
                    for pair in pairs[start + first : start + last]
                ]
                write(pa.Table.from_pylist(rows, schema=arrow))


def write_candidates(
    folder: Path, name: str, shards: Sequence[Path], *, made_by: str, file_bytes: int = FILE_BYTES
) -> int:
    """Write every sentence of an iteration's search; a shard of the project is a row group here. Return the rows written.

    Raises:
        UserError: a shard is no table of sentences; `made_by` makes it.
    """
    arrow = candidate_features().arrow_schema
    files = _cut([shard.stat().st_size for shard in shards], limit=file_bytes)
    rows = 0
    for index, (start, end) in enumerate(files):
        with _writer(folder / candidate_file(name, index, len(files)), arrow) as write:
            for shard in shards[start:end]:
                table = read_table(shard, Sentence, made_by=made_by)
                write(table.select(pl.lit(name).alias(ITERATION), pl.all()).to_arrow().cast(arrow))
                rows += len(table)
    return rows


def write_responses(folder: Path, name: str, shards: Sequence[Path], *, made_by: str) -> int:
    """Write an iteration's answers as one table; a shard of the project is a row group here. Return the rows written.

    Raises:
        UserError: a shard is no table of answers; `made_by` makes it.
    """
    rows = 0
    arrow = pl.DataFrame(schema=schema(Response)).to_arrow().schema
    with _writer(folder / own_table(name, "responses"), arrow) as write:
        for shard in shards:
            table = read_table(shard, Response, made_by=made_by)
            write(table.to_arrow().cast(arrow))
            rows += len(table)
    return rows


def read_shards(files: Sequence[Path], record: Record) -> Iterator[pl.DataFrame]:
    """Give back the shards that were put together, one by one and in their order, columns and types as the record's."""
    import pyarrow.parquet as pq

    wanted = schema(record)
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                table: Any = pl.from_arrow(parquet.read_row_group(group, columns=list(wanted)))
                yield table.select(pl.col(column).cast(dtype) for column, dtype in wanted.items())


@contextmanager
def _writer(path: Path, arrow: "pa.Schema") -> Iterator[Callable[["pa.Table"], None]]:
    """Give what writes one row group of a file."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(
        path, arrow, compression="zstd", write_page_index=True, use_content_defined_chunking=True
    ) as writer:
        yield lambda table: writer.write_table(table, row_group_size=max(len(table), 1))


def _size(pair: Pair, *, root: Path, embed: bool, made_by: str) -> int:
    """Return about what a pair takes, in bytes before compression."""
    texts = len(pair.prompt) + len(pair.chosen) + len(pair.rejected)
    if not embed:
        return texts
    try:
        return texts + (root / pair.image).stat().st_size
    except OSError:
        raise UserError(
            f"pair {pair.prompt_id}: image {pair.image}",
            got="no such file",
            expected="the image that the answers are about",
            do=f"{made_by}; or leave the bytes out: --images reference",
        ) from None


def _cut(sizes: Sequence[int], *, limit: int, rows: int | None = None) -> list[tuple[int, int]]:
    """Cut a row of things into runs of about `limit` and at most `rows`; each holds one thing at least.

    Example: sizes 4 4 4 9 1 with limit 8 -> (0, 2), (2, 3), (3, 4), (4, 5)
    """
    runs: list[tuple[int, int]] = []
    start = held = 0
    for index, size in enumerate(sizes):
        full = held + size > limit or (rows is not None and index - start >= rows)
        if full and index > start:
            runs.append((start, index))
            start, held = index, 0
        held += size
    return [*runs, (start, len(sizes))]
