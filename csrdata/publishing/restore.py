"""From a release back to a project's tables, exactly: what `csrdata pull` writes, and what `stats` and `diff` read.

A release may come from anywhere, so its paths are held against escapes from the target before anything is written.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from csrdata.errors import UserError
from csrdata.publishing.columns import IMAGE_PATH
from csrdata.publishing.extra import need_hub_extra
from csrdata.publishing.layout import (
    PROMPTS,
    ReleaseIteration,
    candidate_glob,
    own_table,
    pair_glob,
    shard_manifest,
)
from csrdata.publishing.manifest import MANIFEST, read_manifest
from csrdata.publishing.shards import read_shards
from csrdata.records import Record, Response, Sentence
from csrdata.tables import atomic_file, atomic_folder, write_table

PULL_AGAIN = "csrdata pull OWNER/NAME@TAG"


def released(folder: Path) -> list[str]:
    """Return the names of the iterations that a release holds, in order.

    Raises:
        UserError: the folder is no release.
    """
    return [counts.name for counts in read_manifest(folder).iterations]


def restore(folder: Path, iterations: Sequence[ReleaseIteration], *, images_root: Path | None = None) -> None:
    """Write a release's tables where `iterations` say, as they were in the project that it came from.

    Shards come back as shards, under the names they had. Each table is written whole or not at all.

    Args:
        folder: the release.
        iterations: those to restore, and where to.
        images_root: the folder that image paths are relative to: the embedded images go there, those of prompts with a
            pair; None leaves them out. A release with `--images reference` has none.

    Raises:
        UserError: the release lacks an iteration or a table, or an image's path leads out of `images_root`.
    """
    need_hub_extra()
    names = released(folder)
    for iteration in iterations:
        if iteration.name not in names:
            raise UserError(
                f"{folder}: iteration",
                got=iteration.name,
                expected=f"one of {', '.join(names)}",
                do=PULL_AGAIN,
            )
    for iteration in iterations:
        name = iteration.name
        _copy(folder / PROMPTS, iteration.prompts)
        _copy(folder / own_table(name, "pairs"), iteration.pairs)
        _copy(folder / own_table(name, "dropped"), iteration.dropped)
        responses = [folder / own_table(name, "responses")]
        _shards(responses, Response, iteration.responses, folder / shard_manifest(name, "responses"))
        candidates = sorted(folder.glob(candidate_glob(name)))
        _shards(candidates, Sentence, iteration.candidates, folder / shard_manifest(name, "candidates"))
        if images_root is not None:
            _images(sorted(folder.glob(pair_glob(name))), images_root)


def is_inside(path: str) -> bool:
    """Whether a path is relative, POSIX and stays below the folder it is relative to.

    Example: "data/images/7.png" -> True; "/etc/passwd", "../x", "~/x", "C:\\x", "" -> False
    """
    parts = PurePosixPath(path).parts
    return bool(parts) and not (
        path.startswith(("/", "~")) or ".." in parts or "\\" in path or PureWindowsPath(path).drive
    )


def _copy(source: Path, target: Path) -> None:
    _found(source)
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)


def _shards(files: Sequence[Path], record: Record, target: Path, manifest: Path) -> None:
    for file in files or [manifest]:
        _found(file)
    with atomic_folder(target) as partial:
        for index, table in enumerate(read_shards(files, record)):
            write_table(partial / f"{index:05d}.parquet", table)
        if manifest.is_file():
            shutil.copyfile(manifest, partial / "manifest.json")


def _images(files: Sequence[Path], root: Path) -> None:
    import pyarrow.parquet as pq

    for file in files:
        with pq.ParquetFile(file) as parquet:
            if "images" not in parquet.schema_arrow.names:
                return
            for batch in parquet.iter_batches(batch_size=100, columns=["images", IMAGE_PATH]):
                for row in batch.to_pylist():
                    _image(root, row[IMAGE_PATH], row["images"][0]["bytes"], file=file)


def _image(root: Path, path: str, content: bytes, *, file: Path) -> None:
    if not is_inside(path):
        raise UserError(
            f"{file}: column {IMAGE_PATH}",
            got=path,
            expected="a path below the project",
            do="choose another data set",
        )
    with atomic_file(root / path) as partial:
        partial.write_bytes(content)


def _found(file: Path) -> None:
    if not file.is_file():
        raise UserError(
            str(file), got="no such file", expected=f"a file that {MANIFEST} names", do=PULL_AGAIN
        )
