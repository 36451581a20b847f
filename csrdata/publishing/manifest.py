"""What a release is: its files, its counts, what made it, and its identity.

The *identity* is the SHA-256 of the data files' hashes, the parameters that generated them and the revisions of policies
and scorers. Two releases of one identity are the same data set, whatever their date, tag or card; the second is not worth
a push. Everything else in the manifest describes it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.tables import hash_path, read_json, write_json

MANIFEST = "provenance/manifest.json"
FORMAT = 1
"""Of the folder's layout; a reader refuses a higher one."""

MADE_BY = "csrdata push OWNER/NAME --dry-run DIR"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a release, the manifest itself excepted."""

    path: str
    """POSIX, relative to the release."""
    bytes: int
    sha256: str
    rows: int | None
    """Of a Parquet file; null of any other."""

    @property
    def is_data(self) -> bool:
        return self.rows is not None


@dataclass(frozen=True, slots=True)
class Counts:
    """One iteration's rows: kept + dropped = prompts."""

    name: str
    """As in params.yaml: "1", "2", ..."""
    prompts: int
    candidates: int
    responses: int
    pairs: int
    dropped: dict[str, int]
    """Prompts without a pair, by reason; reasons that occur."""


@dataclass(frozen=True, slots=True)
class Model:
    """A policy or scorer behind the data."""

    role: str
    """What it did: `base policy`, `policy of iteration 2`, `search scorer`, `held-out scorer`."""
    architecture: str
    """Its class, as its own configuration names it."""
    sha256: str
    """Of the folder's names and contents: exact, wherever the model came from."""
    hub_id: str | None = None
    """`OWNER/NAME` on the Hub, where it came from there."""
    revision: str | None = None
    """The Hub commit, 40 hex digits; never a branch."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the changelog: what a release changed against the one before it."""

    tag: str | None
    date: str | None
    identity: str
    changes: list[str]
    """Sentences, Markdown."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release, in full."""

    identity: str
    repo_id: str
    tag: str | None
    date: str | None
    """UTC, YYYY-MM-DD; null where it was not given."""
    images: str
    """`embed` or `reference`."""
    iterations: list[Counts]
    params: dict[str, Any]
    """The sections of params.yaml that generated the data."""
    models: list[Model]
    inputs: dict[str, str]
    """What went into the DAG and came out of no stage (source files, foreign data), by its MD5 in dvc.lock."""
    csrdata: str
    """The version of csrdata that wrote the release."""
    commit: str | None
    """The project's git commit, `+changes` behind it where the working tree differed."""
    changelog: list[Change]
    """Newest first, the releases before this one included."""
    files: list[File]
    format: int = field(default=FORMAT)


def identity(files: Sequence[File], *, params: Mapping[str, Any], models: Sequence[Model]) -> str:
    """Return the SHA-256, in hex, of what makes two releases one data set; the order of files and models is no matter."""
    parts = {
        "files": {file.path: file.sha256 for file in files if file.is_data},
        "params": params,
        "models": {model.role: [model.sha256, model.hub_id, model.revision] for model in models},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe_file(folder: Path, file: Path) -> File:
    """Measure one file of a release."""
    rows = None
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_metadata(file).num_rows
    return File(file.relative_to(folder).as_posix(), file.stat().st_size, hash_path(file), rows)


def describe_model(role: str, folder: Path, *, made_by: str) -> Model:
    """Describe the model in a folder: a transformers model, an open_clip model, or a chain of adapters.

    Raises:
        UserError: there is no such folder, or it holds nothing that says what it is.
    """
    found: str | None = None
    if (folder / "config.json").is_file():
        found = read_json(folder / "config.json", made_by=made_by).get("architectures", ["a model"])[0]
    elif (folder / "open_clip_config.json").is_file():
        found = "an open_clip dual encoder"
    elif (folder / "chain.json").is_file():
        chain = read_json(folder / "chain.json", made_by=made_by)
        count = len(chain["adapters"])
        found = f"the base policy and {count} adapter{'s' if count != 1 else ''}"
    if found is None:
        raise UserError(str(folder), got="no such model", expected=f"the {role}", do=made_by)
    return Model(role=role, architecture=found, sha256=hash_path(folder))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a release's manifest into its folder."""
    write_json(folder / MANIFEST, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read a release's manifest.

    Raises:
        UserError: the folder is no release, or one of a later format.
    """
    return parse_manifest(read_json(folder / MANIFEST, made_by=MADE_BY), place=str(folder / MANIFEST))


def parse_manifest(raw: Any, *, place: str) -> Manifest:
    """Turn a manifest's JSON into a `Manifest`.

    Raises:
        UserError: it is no manifest, or one of a later format.
    """
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise UserError(
            place,
            got=f"format {found}",
            expected=f"format {FORMAT}",
            do="pip install --upgrade csrdata, or choose another data set",
        )
    try:
        return Manifest(
            **{
                **raw,
                "iterations": [Counts(**one) for one in raw["iterations"]],
                "models": [Model(**one) for one in raw["models"]],
                "changelog": [Change(**one) for one in raw["changelog"]],
                "files": [File(**one) for one in raw["files"]],
            }
        )
    except (KeyError, TypeError) as error:
        raise UserError(place, got=str(error), expected="a manifest that csrdata wrote", do=MADE_BY) from None
