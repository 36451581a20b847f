"""Restore a project's tables and images from a release, for `csrdata pull`, `stats` and `diff`.

A release may come from a stranger. Its files were compared with its manifest when they were fetched (`fetch.py`). Here, the
size of each table is checked before it is read; then its values are checked as in the stages, and it is written again. An
image is written under the hash of its bytes, after it decodes in the format of its extension. Every written path comes from
the caller or from `layout.py`.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from csrdata.errors import UserError
from csrdata.images import image_extension
from csrdata.publishing.extra import need_hub_extra
from csrdata.publishing.release.columns import IMAGE_PATH, ITERATION
from csrdata.publishing.release.layout import (
    LOCK,
    PARAMS,
    PROMPTS,
    UNPAIRED,
    candidate_glob,
    own_table,
    pair_glob,
    parse_image_name,
    project_image,
    shard_manifest,
)
from csrdata.publishing.release.manifest import ELSEWHERE, File, Manifest, files_of, read_manifest
from csrdata.publishing.release.naming import rename
from csrdata.publishing.release.untrusted import (
    TABLE_ROWS,
    check_yaml,
    decode_text,
    open_parquet,
    parse_json,
    read_bounded,
)
from csrdata.records import Dropped, Pair, Prompt, Record, Response, Sentence
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import atomic_file, read_table, schema, seal, write_table

IMAGE_BYTES = 100_000_000
"""Largest image file that is written, in bytes."""
FINGERPRINT_BYTES = 1_000_000
"""Largest file of a fingerprint, in bytes."""
PARAMS_BYTES = 200_000
"""Largest params.yaml, in bytes."""
LOCK_BYTES = 20_000_000
"""Largest dvc.lock, in bytes; it is kept but not parsed."""


def released(folder: Path) -> list[str]:
    """Return the names of the iterations that a release holds, in order.

    Raises:
        UserError: the folder is not a release.
    """
    return [counts.name for counts in read_manifest(folder).iterations]


def restore(folder: Path, iterations: Sequence[IterationTables], *, images_root: Path | None = None) -> None:
    """Write a release's tables to the paths of `iterations`, and its images.

    The tables equal those of the original project, except that image paths are those to which a pull writes images. Shards
    keep their names.

    Args:
        folder: the release, with the files that its manifest lists.
        iterations: the iterations to restore, with their target paths, which must not exist.
        images_root: the project's folder, in which images are written; None writes no images. A release with
            `--images reference` contains none.

    Raises:
        UserError: an iteration or an image is missing, or a table or an image is invalid.
    """
    need_hub_extra()
    manifest = read_manifest(folder)
    names = [counts.name for counts in manifest.iterations]
    for iteration in iterations:
        if iteration.name not in names:
            raise UserError(
                "iteration", got=iteration.name, expected=f"one of {', '.join(names)}", do=ELSEWHERE
            )
    named: set[str] = set()
    for iteration in iterations:
        name = iteration.name
        prompts = read_release_table(folder, PROMPTS, Prompt, manifest)
        pairs = read_release_table(folder, own_table(name, "pairs"), Pair, manifest)
        named |= set(prompts["image"]) | set(pairs["image"])
        write_table(iteration.prompts, _to_project(prompts, PROMPTS))
        write_table(iteration.pairs, _to_project(pairs, own_table(name, "pairs")))
        dropped = read_release_table(folder, own_table(name, "dropped"), Dropped, manifest)
        write_table(iteration.dropped, dropped)
        for table, glob, record, target in (
            ("responses", own_table(name, "responses"), Response, iteration.responses),
            ("candidates", candidate_glob(name), Sentence, iteration.candidates),
        ):
            _restore_shards(folder, files_of(manifest.files, glob), record, target)
            seal(target, record, fingerprint=_fingerprint(folder, shard_manifest(name, table), manifest))
    if images_root is not None and manifest.images == "embed":
        _restore_images(folder, manifest, named, images_root)


def release_texts(folder: Path, *, do: str = ELSEWHERE) -> dict[str, bytes]:
    """Return a release's params.yaml and, if it has one, its dvc.lock, by path; `do`: the next command of an error.

    Raises:
        UserError: a file is too large or not text, or params.yaml is not safe to read as YAML.
    """
    texts = {}
    for path, limit in ((PARAMS, PARAMS_BYTES), (LOCK, LOCK_BYTES)):
        if path == PARAMS or (folder / path).is_file():
            texts[path] = read_bounded(folder / path, limit=limit, do=do)
            text = decode_text(texts[path], place=path, do=do)
            if path == PARAMS:
                check_yaml(text, place=path, do=do)
    return texts


def read_release_table(folder: Path, path: str, record: Record, manifest: Manifest) -> pl.DataFrame:
    """Return a release's table, after checking its size, its number of rows in the manifest, and its values.

    Raises:
        UserError: the table does not agree with the manifest or with its record.
    """
    rows = next((file.rows for file in manifest.files if file.path == path), None)
    with open_parquet(folder / path, place=path, rows=rows, do=ELSEWHERE) as parquet:
        if parquet.metadata.num_rows > TABLE_ROWS:
            got = f"{parquet.metadata.num_rows:,} rows"
            raise UserError(path, got=got, expected=f"at most {TABLE_ROWS:,}", do=ELSEWHERE)
    return _checked(folder / path, record, shown=path)


def _checked(file: Path, record: Record, *, shown: str) -> pl.DataFrame:
    """Read a table as the stages do; an error names the release's file, not the temporary one."""
    try:
        return read_table(file, record, made_by=ELSEWHERE)
    except UserError as error:
        place = error.place.replace(str(file), shown)
        raise UserError(place, got=error.got, expected=error.expected, do=error.do) from None


def _to_project(table: pl.DataFrame, path: str) -> pl.DataFrame:
    """Return a release's table with the image paths of a pulled project."""
    names = table["image"].unique().to_list()
    for name in names:
        if parse_image_name(name) is None:
            expected = "images/SHA256.EXT"
            raise UserError(f"{path}: column image", got=name, expected=expected, do=ELSEWHERE)
    return rename(table, {name: project_image(name) for name in names})


def _restore_shards(folder: Path, files: Sequence[File], record: Record, target: Path) -> None:
    """Write each row group as one shard; one row group is in memory at a time."""
    index = 0
    for file in files:
        path = file.path
        with open_parquet(folder / path, place=path, rows=file.rows, do=ELSEWHERE) as parquet:
            _check_schema(parquet.schema_arrow, record, path)
            for group in range(parquet.num_row_groups):
                table: Any = pl.from_arrow(parquet.read_row_group(group, columns=list(schema(record))))
                shard = target / f"{index:05d}.parquet"
                write_table(shard, table.select(list(schema(record))))
                _checked(shard, record, shown=f"{path}: row group {group}")
                index += 1


def _check_schema(arrow: Any, record: Record, path: str) -> None:
    """Refuse a table in which a column of its record is missing or has another type."""
    empty: Any = pl.from_arrow(arrow.empty_table())
    found = dict(empty.schema)
    if record is Sentence:
        found.pop(ITERATION, None)
    for name, dtype in schema(record).items():
        if found.get(name) != dtype:
            got = str(found.get(name, "no such column"))
            raise UserError(f"{path}: column {name}", got=got, expected=str(dtype), do=ELSEWHERE)


def _fingerprint(folder: Path, path: str, manifest: Manifest) -> dict[str, str]:
    """Return the fingerprint of a folder of shards; empty if the release has none."""
    if all(file.path != path for file in manifest.files):
        return {}
    content = read_bounded(folder / path, limit=FINGERPRINT_BYTES, do=ELSEWHERE)
    found = parse_json(content, place=path, do=ELSEWHERE)
    parts = found.get("fingerprint") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise UserError(path, got=found, expected="a fingerprint", do=ELSEWHERE)
    return dict(parts)


def _restore_images(folder: Path, manifest: Manifest, named: set[str], root: Path) -> None:
    """Write every image that the tables name, once; refuse an image that they do not name, and a missing one."""
    written: set[str] = set()
    for place, name, content in _embedded(folder, manifest):
        if name not in named:
            raise UserError(place, got=name, expected="an image that a table names", do=ELSEWHERE)
        digest, extension = parse_image_name(name) or ("", "")
        if sha256(content).hexdigest() != digest:
            raise UserError(place, got="other bytes", expected=f"those of {name}", do=ELSEWHERE)
        if name in written:
            continue
        found = image_extension(content, place=f"{place}: {name}", do=ELSEWHERE)
        if found != extension:
            raise UserError(f"{place}: {name}", got=f"a {found} image", expected=extension, do=ELSEWHERE)
        with atomic_file(root / project_image(name)) as partial:
            partial.write_bytes(content)
        written.add(name)
    missing = named - written
    if missing:
        raise UserError(
            min(missing), got="no such image", expected="every image that a table names", do=ELSEWHERE
        )


def _embedded(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str, bytes]]:
    """Yield place, name and bytes of every image in the release; one image is in memory at a time."""
    pairs = [file for one in manifest.iterations for file in files_of(manifest.files, pair_glob(one.name))]
    for file in pairs:
        with open_parquet(folder / file.path, place=file.path, rows=file.rows, do=ELSEWHERE) as parquet:
            for place, row in _rows(parquet, ["images", IMAGE_PATH], file.path):
                images = row["images"]
                one = images[0] if isinstance(images, list) and len(images) == 1 else None
                content = one.get("bytes") if isinstance(one, dict) else None
                yield place, *_image(place, row[IMAGE_PATH], content)
    for file in files_of(manifest.files, UNPAIRED):
        with open_parquet(folder / file.path, place=file.path, rows=file.rows, do=ELSEWHERE) as parquet:
            for place, row in _rows(parquet, ["image", "bytes"], file.path):
                yield place, *_image(place, row["image"], row["bytes"])


def _rows(parquet: Any, columns: list[str], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows one by one, so that only one copy of an image that a page repeats is in memory."""
    lacking = [column for column in columns if column not in parquet.schema_arrow.names]
    if lacking:
        raise UserError(f"{path}: column {lacking[0]}", got="no such column", expected="images", do=ELSEWHERE)
    for index, batch in enumerate(parquet.iter_batches(batch_size=1, columns=columns)):
        for row in batch.to_pylist():
            yield f"{path}: row {index}", row


def _image(place: str, name: object, content: object) -> tuple[str, bytes]:
    if not isinstance(name, str) or parse_image_name(name) is None:
        raise UserError(f"{place}: image", got=name, expected="images/SHA256.EXT", do=ELSEWHERE)
    if not isinstance(content, bytes) or not 0 < len(content) <= IMAGE_BYTES:
        got = f"{len(content):,} bytes" if isinstance(content, bytes) else "no bytes"
        raise UserError(f"{place}: image", got=got, expected=f"1 to {IMAGE_BYTES:,} bytes", do=ELSEWHERE)
    return name, content
