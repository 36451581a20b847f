"""The manifest of a release: its files, counts, parameters, models and identity.

The *identity* is the SHA-256 of the data files' hashes, the parameters that generated them, and the hashes and revisions of
policies and scorers. Two releases with one identity are the same dataset, whatever their date, tag or card, so the second is
not pushed. Everything else in the manifest is description.

A manifest may come from a stranger, so the type, range and length of every field are checked when it is parsed.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from csrdata.errors import UserError
from csrdata.pinned import read_pinned
from csrdata.publishing.release.layout import (
    NAME_EXPECTED,
    PROMPTS,
    candidate_glob,
    is_iteration_name,
    is_release_path,
    needed_paths,
    own_table,
    pair_glob,
    split_name,
)
from csrdata.publishing.release.untrusted import check_text, check_value, parse_json, read_bounded
from csrdata.records import BY_HAND
from csrdata.storage.tables import hash_path, read_json, write_json

MANIFEST = "provenance/manifest.json"
FORMAT = 3
"""Version of the folder's layout and of its columns. A release in another format is refused. Format 1 named images by their
project's paths; in format 2 a pair was always two whole answers."""

MANIFEST_BYTES = 8_000_000
"""The largest manifest that is read: `MAX_FILES` entries of 200 bytes, and as many lines of changes and inputs."""
MAX_FILES = 10_000
"""The most files of a release: 5 TB at 500 MB per file."""
MAX_ITERATIONS = 100

MADE_BY = "csrdata push OWNER/NAME --dry-run DIR"
ELSEWHERE = "choose another dataset, or ask its owner to push it again"

_FORBID = ConfigDict(extra="forbid")


def _name(text: str) -> str:
    if not is_iteration_name(text):
        raise ValueError(NAME_EXPECTED)
    return text


Text = Annotated[str, Strict(), StringConstraints(max_length=10_000), AfterValidator(check_text)]
Name = Annotated[str, Strict(), AfterValidator(_name)]
Sha256 = Annotated[str, Strict(), StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Strict(), StringConstraints(pattern=r"^[0-9a-f]{40}(\+changes)?$")]
Number = Annotated[int, Strict(), Field(ge=0, le=10**15)]
Tree = Annotated[dict[str, Any], AfterValidator(check_value)]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a release, except the manifest."""

    __pydantic_config__ = _FORBID

    path: Text
    """POSIX, relative to the release."""
    bytes: Number
    sha256: Sha256
    rows: Number | None
    """The number of rows of a Parquet file; null for any other file."""

    @property
    def is_data(self) -> bool:
        return self.rows is not None


@dataclass(frozen=True, slots=True)
class Counts:
    """One iteration's numbers of rows: prompts with a pair + prompts without = prompts."""

    __pydantic_config__ = _FORBID

    name: Name
    """As in params.yaml: "1", "2", ..."""
    prompts: Number
    candidates: Number
    responses: Number
    pairs: Number
    dropped: dict[Text, Number]
    """Prompts without a pair, by reason; only reasons that occur."""
    paired: Number | None = None
    """Prompts with a pair or more; null in a release of an earlier version, whose prompts had one pair at most."""
    removed: dict[Text, Number] | None = None
    """Pairs that curation took out, by its reasons: each has a row in the table of dropped. Null where it took none out, and
    in a release of an earlier version, in which a prompt that lost all its pairs has one row."""

    @property
    def with_pairs(self) -> int:
        """Return how many prompts have a pair."""
        return self.pairs if self.paired is None else self.paired

    @property
    def dropped_rows(self) -> int:
        """Return how many rows the table of dropped has."""
        if self.removed is None:
            return sum(self.dropped.values())
        whole = sum(count for reason, count in self.dropped.items() if reason not in BY_HAND)
        return whole + sum(self.removed.values())


@dataclass(frozen=True, slots=True)
class Model:
    """A policy or scorer that the data depend on."""

    __pydantic_config__ = _FORBID

    role: Text
    """Its role: `base policy`, `policy of iteration 2`, `search scorer`, `held-out scorer`."""
    architecture: Text
    """Its class, as its configuration names it."""
    sha256: Sha256
    """Hash of the folder's file names and contents."""
    hub_id: Text | None = None
    """`OWNER/NAME` if the model came from the Hub."""
    revision: Commit | None = None
    """The Hub commit, 40 hex digits; never a branch."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the changelog: the changes from the previous release."""

    __pydantic_config__ = _FORBID

    tag: Text | None
    date: Text | None
    identity: Sha256
    changes: list[Text]
    """One sentence per change, in Markdown."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The full description of a release."""

    __pydantic_config__ = _FORBID

    identity: Sha256
    repo_id: Text
    tag: Text | None
    date: Text | None
    """UTC, YYYY-MM-DD; null if none was given."""
    images: Literal["embed", "reference"]
    iterations: Annotated[list[Counts], Field(min_length=1, max_length=MAX_ITERATIONS)]
    params: Tree
    """The sections of params.yaml that generated the data."""
    models: list[Model]
    inputs: dict[Text, Text]
    """MD5, from dvc.lock, of each input that no stage wrote (source files, external data), by path."""
    csrdata: Text
    """The version of csrdata that wrote the release."""
    commit: Commit | None
    """The project's git commit, with `+changes` appended if the working tree differed."""
    changelog: list[Change]
    """The entries of this release and all earlier ones, newest first."""
    files: Annotated[list[File], Field(min_length=1, max_length=MAX_FILES)]
    format: Annotated[int, Strict()] = field(default=FORMAT)


def identity(files: Sequence[File], *, params: Mapping[str, Any], models: Sequence[Model]) -> str:
    """Return the SHA-256 of a dataset's data files, params and models, 64 hex digits; their order does not matter."""
    parts = {
        "files": {file.path: file.sha256 for file in files if file.is_data},
        "params": params,
        "models": {model.role: [model.sha256, model.hub_id, model.revision] for model in models},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe_file(folder: Path, file: Path, *, sha256: str | None = None) -> File:
    """Return the path, size, hash and rows of one file of a release; `sha256`: its hash, if it is known."""
    rows = None
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_metadata(file).num_rows
    return File(file.relative_to(folder).as_posix(), file.stat().st_size, sha256 or hash_path(file), rows)


def describe_model(role: str, folder: Path, *, made_by: str) -> Model:
    """Describe the model in a folder: of transformers or open_clip, a detector, a chain of adapters, or a record of one.

    A recorded model is described by the files that the record names: where a folder is on this machine is nobody's business.

    Raises:
        UserError: the folder does not exist, or holds no known kind of model.
    """
    if records := sorted(
        {*folder.glob("model.json"), *folder.glob("scorer.json"), *folder.glob("*/scorer.json")}
    ):
        return _describe_records(role, records, made_by=made_by)
    found: str | None = None
    if (folder / "config.json").is_file():
        found = read_json(folder / "config.json", made_by=made_by).get("architectures", ["a model"])[0]
    elif (folder / "open_clip_config.json").is_file():
        found = "an open_clip dual encoder"
    elif (folder / "detector.json").is_file():
        found = "a detector"
    elif (folder / "chain.json").is_file():
        chain = read_json(folder / "chain.json", made_by=made_by)
        count = len(chain["adapters"])
        found = f"the base policy and {count} adapter{'s' if count != 1 else ''}"
    if found is None:
        raise UserError(str(folder), got="no such model", expected=f"the {role}", do=made_by)
    return Model(role=role, architecture=found, sha256=hash_path(folder))


def _describe_records(role: str, records: Sequence[Path], *, made_by: str) -> Model:
    """Describe a model, or an ensemble of several, by its records."""
    pinned = [read_pinned(record, made_by=made_by) for record in records]
    files = [{name: file.sha256 for name, file in sorted(one.files.items())} for one in pinned]
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    kind = "image-text-to-text model" if records[0].name == "model.json" else "open_clip dual encoder"
    if len(pinned) > 1:
        return Model(
            role=role, architecture=f"an ensemble of {len(pinned)} open_clip dual encoders", sha256=digest
        )
    return Model(
        role=role, architecture=f"an {kind}", sha256=digest, hub_id=pinned[0].id, revision=pinned[0].revision
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a release's manifest into its folder."""
    write_json(folder / MANIFEST, dataclasses.asdict(manifest))


def read_manifest(folder: Path, *, do: str = ELSEWHERE) -> Manifest:
    """Read and check the manifest of a release; `do`: the next command of an error.

    Raises:
        UserError: the folder is not a release, has another format, or its manifest is inconsistent.
    """
    content = read_bounded(folder / MANIFEST, limit=MANIFEST_BYTES, do=do)
    manifest = parse_manifest(content, place=MANIFEST, do=do)
    check_manifest(manifest, place=MANIFEST, do=do)
    return manifest


def parse_manifest(content: bytes, *, place: str, do: str = ELSEWHERE, older: bool = False) -> Manifest:
    """Turn a manifest's JSON into a `Manifest`, and check the type, range and length of every field.

    Args:
        content: the file.
        place, do: the place and the next command of an error.
        older: also accept an older format, which has the same fields and differs only in the layout of files.

    Raises:
        UserError: the content is not a manifest, or has another format.
    """
    raw = parse_json(content, place=place, do=do)
    found = raw.get("format") if isinstance(raw, dict) else None
    if type(found) is not int or found > FORMAT or found < (1 if older else FORMAT):
        behind = type(found) is int and 1 <= found < FORMAT
        raise UserError(
            place,
            got=f"format {found}",
            expected=f"format {FORMAT}",
            do="ask its owner to push it again with this version of csrdata"
            if behind
            else "pip install --upgrade csrdata, or choose another dataset",
        )
    try:
        return _MANIFEST.validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise UserError(
            f"{place}: {where}", got=first["input"], expected=_expectation(first["msg"]), do=do
        ) from None


def check_manifest(manifest: Manifest, *, place: str, do: str) -> None:
    """Check that the parts of a manifest agree: names, paths and identity.

    Raises:
        UserError: an iteration, its split or a path occurs twice, a path is not part of the layout, a file is missing, a
            file that is not a table has rows, or the identity is wrong.
    """
    names = [one.name for one in manifest.iterations]
    paths = [file.path for file in manifest.files]
    splits = [split_name(name) for name in names]
    for what, found in (("iteration", names), ("split", splits), ("path", paths)):
        if len(set(found)) < len(found):
            twice = next(one for one in found if found.count(one) > 1)
            raise UserError(place, got=f"{twice} twice", expected=f"each {what} once", do=do)
    for file in manifest.files:
        if not is_release_path(file.path, names):
            expected = f"a file of a release of iteration {', '.join(names)}"
            raise UserError(f"{place}: files", got=file.path, expected=expected, do=do)
        if file.is_data != file.path.endswith(".parquet"):
            raise UserError(
                f"{place}: {file.path}: rows", got=file.rows, expected="rows of tables only", do=do
            )
    missing = needed_paths(names) - set(paths)
    if missing:
        raise UserError(f"{place}: files", got=f"no {min(missing)}", expected="every table", do=do)
    if identity(manifest.files, params=manifest.params, models=manifest.models) != manifest.identity:
        expected = "the identity of files, params, models"
        raise UserError(place, got=manifest.identity, expected=expected, do=do)


def check_counts(manifest: Manifest, *, place: str, do: str) -> None:
    """Check that the files' rows agree with the counts, and that each prompt has a pair or a reason for none.

    Raises:
        UserError: a number differs; the error names iteration and file.
    """
    for one in manifest.iterations:
        here = f"{place}: iteration {one.name}"
        if one.with_pairs + sum(one.dropped.values()) != one.prompts or one.pairs < one.with_pairs:
            got = f"{one.pairs} pairs of {one.with_pairs} prompts and {sum(one.dropped.values())} prompts without"
            raise UserError(here, got=got, expected=f"{one.prompts} prompts in all", do=do)
        _check_removed(one, place=here, do=do)
        for glob, rows in (
            (pair_glob(one.name), one.pairs),
            (own_table(one.name, "pairs"), one.pairs),
            (own_table(one.name, "dropped"), one.dropped_rows),
            (own_table(one.name, "responses"), one.responses),
            (candidate_glob(one.name), one.candidates),
            (PROMPTS, one.prompts),
        ):
            found = sum(file.rows or 0 for file in files_of(manifest.files, glob))
            if found != rows:
                raise UserError(f"{here}: {glob}", got=f"{found} rows", expected=f"{rows} rows", do=do)


def _check_removed(counts: Counts, *, place: str, do: str) -> None:
    """Check that pairs were taken out for reasons of curation, at least one of each prompt that lost all its pairs.

    Raises:
        UserError: they were not.
    """
    if counts.removed is None:
        return
    for reason, pairs in counts.removed.items():
        if reason not in BY_HAND:
            expected = " or ".join(BY_HAND)
            raise UserError(f"{place}: removed", got=f"{pairs} pairs: {reason}", expected=expected, do=do)
    for reason in BY_HAND:
        prompts, pairs = counts.dropped.get(reason, 0), counts.removed.get(reason, 0)
        if pairs < prompts:
            got = f"{pairs} pairs: {reason}"
            raise UserError(
                f"{place}: removed", got=got, expected=f"{prompts} or more, one for each prompt", do=do
            )


def files_of(files: Sequence[File], glob: str) -> list[File]:
    """Return the files that one of the layout's globs matches, in the order of their paths."""
    before, star, after = glob.partition("*")
    found = [
        file
        for file in files
        if (file.path.startswith(before) and file.path.endswith(after) if star else file.path == glob)
    ]
    return sorted(found, key=lambda file: file.path)


_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def _expectation(message: str) -> str:
    """Return the expectation in a pydantic message. Example: "Input should be a valid list" -> "a valid list"."""
    return (
        message.removeprefix("Value error, ").replace("Input should be ", "").replace("Input should ", "to ")
    )
