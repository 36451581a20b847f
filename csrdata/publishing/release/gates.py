"""Checks of a release before it is published: a dataset that fails one is not pushed.

The finished folder is read as any user would read it: files are compared with the manifest and the card, and every row is
checked. The checks change nothing and send nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from csrdata.columns import Column, columns
from csrdata.errors import UserError
from csrdata.images import image_extension
from csrdata.publishing.extra import need_hub_extra
from csrdata.publishing.release.columns import (
    CONVERSATION,
    IMAGE_PATH,
    ITERATION,
    SIDES,
    Images,
    candidate_features,
    pair_features,
    parse_images,
)
from csrdata.publishing.release.layout import (
    CANDIDATES,
    CARD,
    LOCK,
    PROMPTS,
    SPLIT,
    UNPAIRED,
    candidate_glob,
    config,
    own_table,
    pair_glob,
    parse_image_name,
    split_name,
)
from csrdata.publishing.release.leaks import find_leak
from csrdata.publishing.release.manifest import (
    MANIFEST,
    File,
    Manifest,
    check_counts,
    describe_file,
    files_of,
    read_manifest,
)
from csrdata.publishing.release.naming import in_threads
from csrdata.publishing.release.restore import release_texts
from csrdata.publishing.release.shards import unpaired_schema
from csrdata.records import ORACLE, Fate, Pair, Sentence, Stop

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = {".md", ".json", ".yaml", ".lock"}
"""Files that are searched for paths and tokens."""

Embedded = tuple[str, str, memoryview]
"""An image in a file: its place, its name, its bytes."""

AGAIN = "write the release again: csrdata push OWNER/NAME --dry-run DIR"
REMAKE = "fix the project's tables (dvc repro), then push again"


def check(folder: Path, *, secrets: Sequence[str] = (), decoded: Collection[str] = ()) -> Manifest:
    """Check a whole release, and return its manifest. Files and images are hashed on all cores.

    Args:
        folder: a finished release.
        secrets: texts that must not occur in its text files, such as the write token.
        decoded: names of images that this process has decoded: a name holds hash and format, so that the bytes that match it
            need not be decoded again. Any other image is.

    Raises:
        UserError: the first check that fails, with file and row.
    """
    need_hub_extra()
    manifest = read_manifest(folder, do=AGAIN)
    _check_files(folder, manifest)
    check_counts(manifest, place=MANIFEST, do=REMAKE)
    _check_card(folder, manifest)
    release_texts(folder, do="fix params.yaml, then push again")
    for file in [File(MANIFEST, 0, "", None), *manifest.files]:
        if Path(file.path).suffix in TEXTS:
            _check_text(folder, file.path, remotes=file.path == LOCK, secrets=tuple(secrets))
    named, seen = _check_names(folder, PROMPTS), set[str]()
    fine = frozenset(decoded)
    for counts in manifest.iterations:
        named |= _check_names(folder, own_table(counts.name, "pairs"))
        for file in files_of(manifest.files, pair_glob(counts.name)):
            _check_pairs(folder, file.path, images=parse_images(manifest.images), seen=seen, decoded=fine)
        for file in files_of(manifest.files, candidate_glob(counts.name)):
            _check_candidates(folder, file.path, counts.name)
    for file in files_of(manifest.files, UNPAIRED):
        _check_unpaired(folder, file.path, seen=seen, decoded=fine)
    if manifest.images == "embed" and seen != named:
        name = min(seen ^ named)
        got = "an image that no table names" if name in seen else "no such image"
        raise UserError(name, got=got, expected="the images of all prompts", do=AGAIN)
    return manifest


def check_origins(file: str, rows: pl.DataFrame, *, first: int = 0, behind: str = "") -> None:
    """Check that the truth about the images chose no pair.

    Args:
        file: named in the error.
        rows: pairs, with a column `origin`.
        first: the number of the first row.
        behind: what else the error says of the pairs that were expected.

    Raises:
        UserError: the origin of a pair is an oracle; the error names the first one.
    """
    _refuse(
        file,
        first,
        rows,
        "origin",
        pl.col("origin") == ORACLE,
        expected=f"pairs that were made without the truth about their images{behind}",
        do="take another select_pairs.order in params.yaml, then: dvc repro, and push again",
    )


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Check that the folder holds exactly the manifest's files, each with its size, hash and rows."""
    named = {file.path: file for file in manifest.files}
    present = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }
    for path in sorted(present ^ {*named, MANIFEST}):
        got = "not in the manifest" if path in present else "no such file"
        raise UserError(path, got=got, expected="the files of the manifest", do=AGAIN)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda path: _described(folder, path), named))
    for (path, file), described in zip(named.items(), found, strict=True):
        if (folder / path).is_symlink() or described != file:
            expected = f"{file.bytes} bytes, SHA-256 {file.sha256[:12]}..."
            raise UserError(path, got="another file", expected=expected, do=AGAIN)


def _described(folder: Path, path: str) -> File | None:
    try:
        return describe_file(folder, folder / path)
    except (OSError, ValueError):  # Parquet that does not open
        return None


def _check_card(folder: Path, manifest: Manifest) -> None:
    """Check that the card's metadata state the rows and bytes of the files."""
    text = (folder / CARD).read_text(encoding="utf-8")
    try:
        stated = {one["config_name"]: one for one in yaml.safe_load(text.split("---\n")[1])["dataset_info"]}
    except (yaml.YAMLError, IndexError, KeyError, TypeError):
        raise UserError(CARD, got="no metadata", expected="the card's YAML", do=AGAIN) from None
    splits = {
        config(one.name): {SPLIT: files_of(manifest.files, pair_glob(one.name))}
        for one in manifest.iterations
    }
    splits[CANDIDATES] = {
        split_name(one.name): files_of(manifest.files, candidate_glob(one.name))
        for one in manifest.iterations
    }
    for name, parts in splits.items():
        rows = {split: sum(file.rows or 0 for file in files) for split, files in parts.items()}
        size = sum(file.bytes for files in parts.values() for file in files)
        said = stated.get(name, {})
        claimed = {split["name"]: split["num_examples"] for split in said.get("splits", [])}
        if (claimed, said.get("download_size")) != (rows, size):
            raise UserError(
                f"{CARD}: {name}",
                got=f"{claimed}, {said.get('download_size')} bytes",
                expected=f"{rows}, {size} bytes",
                do=AGAIN,
            )


def _check_text(folder: Path, file: str, *, remotes: bool, secrets: tuple[str, ...]) -> None:
    leak = find_leak((folder / file).read_text(encoding="utf-8"), remotes=remotes, secrets=secrets)
    if leak is not None:
        raise UserError(
            f"{file}: line {leak.line}",
            got=leak.what,
            expected="no path of this machine, no remote address and no secret",
            do="remove it from its source (params.yaml, dvc.yaml), then push again",
        )


def _check_pairs(folder: Path, file: str, *, images: Images, seen: set[str], decoded: frozenset[str]) -> None:
    """Check that every pair has valid scores, two different answers and, with embedded images, an image that decodes.

    `seen`: names of the images that were found; this function adds to it. `decoded`: see `check`.
    """
    for first, table in _groups(folder, file, pair_features(images).arrow_schema):
        rows = pl.from_arrow(table.drop_columns(["images"]) if images == "embed" else table)
        assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a table, not a column
        kept = [
            column
            for column in columns(Pair)
            if column.name in rows.columns and column.name not in CONVERSATION
        ]
        _check_values(file, first, rows, kept)
        check_origins(file, rows, first=first)
        _check_image_names(file, rows[IMAGE_PATH], first=first)
        for index, row in enumerate(rows.select(*CONVERSATION, *SIDES).iter_rows(named=True), start=first):
            _check_conversation(f"{file}: row {index}", row)
        if images == "embed":
            embedded = zip(_embedded(table), rows[IMAGE_PATH], strict=True)
            found: list[Embedded] = []
            for index, ((path, content), name) in enumerate(embedded, start=first):
                place = f"{file}: row {index}: images"
                if content is None:
                    raise UserError(place, got="no bytes", expected="one image", do=REMAKE)
                if path != name.rpartition("/")[2]:
                    raise UserError(place, got=path, expected=f"the file name of {name}", do=AGAIN)
                found.append((place, name, content))
            _check_images(found, seen=seen, decoded=decoded)


def _embedded(table: "pa.Table") -> Iterator[tuple[str | None, memoryview | None]]:
    """Yield the file name and the bytes of each row's one image, without a copy; no bytes if a row has not one image."""
    images = table.column("images").combine_chunks()
    starts, parts = images.offsets.to_pylist(), images.values
    paths, contents = parts.field("path").to_pylist(), parts.field("bytes")
    whole, known = images.is_valid().to_pylist(), contents.is_valid().to_pylist()
    for row, (start, end) in enumerate(pairwise(starts)):
        if end - start != 1 or not whole[row] or not known[start]:
            yield None, None
        else:
            yield paths[start], memoryview(contents[start].as_buffer()) or None


def _check_conversation(place: str, row: dict[str, Any]) -> None:
    """Check that each turn is one message with words, or the end of an answer that was begun, and that the sides differ."""
    for name, role in zip(CONVERSATION, ("user", "assistant", "assistant"), strict=True):
        messages = row[name] or []
        texts = [message["content"] or "" for message in messages]
        is_end = name != "prompt" and texts == [""] and row[f"{name}_complete"] and row["context"].strip()
        if [message["role"] for message in messages] != [role] or not (texts[0].strip() or is_end):
            raise UserError(
                f"{place}: {name}",
                got=messages,
                expected=f"one message of the {role} with words in it",
                do=REMAKE,
            )
    if row["chosen"] == row["rejected"] and row["chosen_complete"] == row["rejected_complete"]:
        raise UserError(
            place,
            got="two equal answers",
            expected="two different answers",
            do="raise select_pairs.margin in params.yaml, then: dvc repro, and push again",
        )


def _check_unpaired(folder: Path, file: str, *, seen: set[str], decoded: frozenset[str]) -> None:
    """Check the name, bytes and format of every image of a prompt without a pair."""
    for first, table in _groups(folder, file, unpaired_schema()):
        rows = enumerate(table.to_pylist(), start=first)
        found = [
            (f"{file}: row {index}", row["image"], memoryview(row["bytes"] or b"")) for index, row in rows
        ]
        _check_images(found, seen=seen, decoded=decoded)


def _check_images(found: Sequence[Embedded], *, seen: set[str], decoded: frozenset[str]) -> None:
    """Check that each image's name agrees with its bytes, and that those decode that are not in `decoded`."""
    digests = in_threads(lambda one: sha256(one[2]).hexdigest(), found)
    for (place, name, content), digest in zip(found, digests, strict=True):
        wanted, extension = parse_image_name(name or "") or ("", "")
        if digest != wanted:
            raise UserError(place, got="other bytes", expected=f"those of {name}", do=AGAIN)
        if name not in seen and name not in decoded:
            format_found = image_extension(bytes(content), place=place, do=REMAKE)
            if format_found != extension:
                got = f"a {format_found} image"
                raise UserError(place, got=got, expected=f"the format of {name}", do=AGAIN)
        seen.add(name)


def _check_candidates(folder: Path, file: str, name: str) -> None:
    """Check that every sentence has its scores: R_T always, R_I and the guidance reward if it has words."""
    known = {"stop": [stop.value for stop in Stop], "fate": [fate.value for fate in Fate], ITERATION: [name]}
    for first, table in _groups(folder, file, candidate_features().arrow_schema):
        rows = pl.from_arrow(table)
        assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a table, not a column
        _check_values(file, first, rows, columns(Sentence))
        spoken = pl.col("text").str.strip_chars() != ""
        for score in ("relevance", "guidance_reward"):
            _refuse(file, first, rows, score, spoken & pl.col(score).is_null(), expected="a score")
        for column, values in known.items():
            wrong = ~pl.col(column).is_in(values)
            _refuse(file, first, rows, column, wrong, expected=f"one of {', '.join(values)}")


def _check_values(file: str, first: int, rows: pl.DataFrame, wanted: Sequence[Column]) -> None:
    """Refuse nulls in columns that must not have nulls, and numbers that are not finite."""
    for column in wanted:
        if not column.nullable:
            _refuse(file, first, rows, column.name, pl.col(column.name).is_null(), expected=column.dtype)
        if column.dtype == "Float64":
            wrong = pl.col(column.name).is_not_null() & ~pl.col(column.name).is_finite()
            _refuse(file, first, rows, column.name, wrong, expected="a finite number")


def _check_names(folder: Path, file: str) -> set[str]:
    """Return the image names in one of the project's tables."""
    names = pl.read_parquet(folder / file, columns=["image"])["image"]
    _check_image_names(file, names)
    return set(names)


def _check_image_names(file: str, names: pl.Series, *, first: int = 0) -> None:
    """Check that images are named by content; a path in the project could reveal something about the machine."""
    for index, name in enumerate(names, start=first):
        if name is None or parse_image_name(name) is None:
            raise UserError(
                f"{file}: row {index}: {names.name}",
                got="null" if name is None else name,
                expected="images/SHA256.EXT",
                do=AGAIN,
            )


def _refuse(
    file: str, first: int, rows: pl.DataFrame, column: str, wrong: pl.Expr, *, expected: str, do: str = REMAKE
) -> None:
    found = rows.select(wrong.alias("wrong")).to_series().arg_true()
    if len(found):
        got = rows[column][int(found[0])]
        place = f"{file}: row {first + int(found[0])}: {column}"
        raise UserError(place, got="null" if got is None else got, expected=expected, do=do)


def _groups(folder: Path, file: str, wanted: "pa.Schema") -> Iterator[tuple[int, "pa.Table"]]:
    """Yield a file's row groups, each with the index of its first row; refuse a file with other columns or features."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / file) as parquet:
        found, feature = parquet.schema_arrow, b"huggingface"
        told = None if wanted.metadata is None else {feature: wanted.metadata[feature]}
        if not found.equals(wanted) or found.metadata != told:
            raise UserError(
                f"{file}: columns",
                got=", ".join(found.names),
                expected="the release's columns, with their features",
                do=AGAIN,
            )
        first = 0
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group)
            yield first, table
            first += len(table)
