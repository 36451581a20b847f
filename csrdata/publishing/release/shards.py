"""Write the Parquet files of a release as a stream: memory holds a few hundred images or one shard, never a whole dataset.

Rows are split into files by the sizes of the inputs, so equal inputs give equal files. Pages use content-defined chunking:
after a small change, the Hub already has most of a file's chunks. A file is hashed while it is written.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import polars as pl

from csrdata.publishing.release.columns import ITERATION, Images, candidate_features, pair_features, pair_row
from csrdata.publishing.release.layout import candidate_file, own_table, pair_file, unpaired_file
from csrdata.publishing.release.naming import image_bytes
from csrdata.records import Pair, Response, Sentence
from csrdata.search.pairs import Form, form
from csrdata.storage.tables import read_table, schema

if TYPE_CHECKING:
    import pyarrow as pa

FILE_BYTES = 500_000_000
"""Approximate bytes per file: the size at which `datasets` and the Hub's viewer split files."""
GROUP_ROWS = 1000
GROUP_BYTES = 16_000_000
"""A row group of pairs ends at the first of these two limits, so that reading one row reads little else."""


Sums = MutableMapping[Path, str]
"""The SHA-256 of files, by path: a writer adds the file that it has written."""


def write_pairs(
    folder: Path,
    name: str,
    pairs: Sequence[Pair],
    *,
    names: Mapping[str, str],
    images: Images,
    root: Path,
    sums: Sums,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write an iteration's pairs as TRL reads them.

    Args:
        folder: the release.
        name: of the iteration.
        pairs: one or more, as in the project; their order is kept.
        names: the name of each image in the release, by its path in the project.
        images: whether a row contains its image's bytes.
        root: the folder that image paths are relative to.
        sums: receives the hashes of the files.
        file_bytes: approximate bytes per file.

    Raises:
        UserError: an image is missing.
    """
    import pyarrow as pa

    embed = images == "embed"
    sizes = [
        sum(map(len, (pair.prompt, pair.context, pair.chosen, pair.rejected)))
        + (_size(pair.image, root) if embed else 0)
        for pair in pairs
    ]
    arrow = pair_features(images).arrow_schema
    trimmed = all(form(pair) is Form.ANSWERS for pair in pairs)
    files = _cut(sizes, limit=file_bytes)
    for index, (start, end) in enumerate(files):
        with _writer(folder / pair_file(name, index, len(files)), arrow, sums) as write:
            for first, last in _cut(sizes[start:end], limit=GROUP_BYTES, rows=GROUP_ROWS):
                rows = [
                    pair_row(
                        replace(pair, image=names[pair.image]),
                        image_bytes(pair.image, root=root) if embed else None,
                        trimmed=trimmed,
                    )
                    for pair in pairs[start + first : start + last]
                ]
                write(pa.Table.from_pylist(rows, schema=arrow))


def write_unpaired(
    folder: Path,
    paths: Sequence[str],
    *,
    names: Mapping[str, str],
    root: Path,
    sums: Sums,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write the images that are in no pair, each once under its name; without images, no file is written.

    Raises:
        UserError: an image is missing.
    """
    import pyarrow as pa

    if not paths:
        return
    arrow = unpaired_schema()
    sizes = [_size(path, root) for path in paths]
    files = _cut(sizes, limit=file_bytes)
    for index, (start, end) in enumerate(files):
        with _writer(folder / unpaired_file(index, len(files)), arrow, sums) as write:
            for first, last in _cut(sizes[start:end], limit=GROUP_BYTES, rows=GROUP_ROWS):
                rows = [
                    {"image": names[path], "bytes": image_bytes(path, root=root)}
                    for path in paths[start + first : start + last]
                ]
                write(pa.Table.from_pylist(rows, schema=arrow))


def unpaired_schema() -> "pa.Schema":
    """Return the columns for images of prompts without a pair: `image` is the name, `bytes` the content of the file."""
    import pyarrow as pa

    return pa.schema([("image", pa.string()), ("bytes", pa.binary())])


def write_candidates(
    folder: Path,
    name: str,
    shards: Sequence[Path],
    *,
    made_by: str,
    sums: Sums,
    file_bytes: int = FILE_BYTES,
) -> int:
    """Write every sentence of an iteration's search, one row group per shard, and return the number of rows.

    Raises:
        UserError: a shard is not a valid table of sentences; the next command is `made_by`.
    """
    arrow = candidate_features().arrow_schema
    files = _cut([shard.stat().st_size for shard in shards], limit=file_bytes)
    rows = 0
    for index, (start, end) in enumerate(files):
        with _writer(folder / candidate_file(name, index, len(files)), arrow, sums) as write:
            for shard in shards[start:end]:
                table = read_table(shard, Sentence, made_by=made_by)
                write(table.select(pl.lit(name).alias(ITERATION), pl.all()).to_arrow().cast(arrow))
                rows += len(table)
    return rows


def write_responses(folder: Path, name: str, shards: Sequence[Path], *, made_by: str, sums: Sums) -> int:
    """Write an iteration's answers as one table, one row group per shard, and return the number of rows.

    Raises:
        UserError: a shard is not a valid table of answers; the next command is `made_by`.
    """
    rows = 0
    arrow = pl.DataFrame(schema=schema(Response)).to_arrow().schema
    with _writer(folder / own_table(name, "responses"), arrow, sums) as write:
        for shard in shards:
            table = read_table(shard, Response, made_by=made_by)
            write(table.to_arrow().cast(arrow))
            rows += len(table)
    return rows


class _Hashed:
    """A file that hashes what is written to it; it is as much of a file as pyarrow needs."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        """Leave the file open: whoever opened it closes it."""


@contextmanager
def _writer(path: Path, arrow: "pa.Schema", sums: Sums) -> Iterator[Callable[["pa.Table"], None]]:
    """Yield a function that writes one row group of a file; add the file's hash to `sums` at the end."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        hashed = _Hashed(file)
        with pq.ParquetWriter(
            hashed, arrow, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        ) as writer:
            yield lambda table: writer.write_table(table, row_group_size=max(len(table), 1))
    sums[path] = hashed.digest.hexdigest()


def _size(image: str, root: Path) -> int:
    """Return an image file's size in bytes; 0 if it is missing, which is an error when it is read."""
    file = root / image
    return file.stat().st_size if file.is_file() else 0


def _cut(sizes: Sequence[int], *, limit: int, rows: int | None = None) -> list[tuple[int, int]]:
    """Split a sequence into runs of total size about `limit` and of at most `rows` items; each has at least one item.

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
