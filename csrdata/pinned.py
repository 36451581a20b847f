"""A model that is elsewhere: on the Hub at a commit, or in a folder, with the size and SHA-256 of each of its files.

A project names such a model in a small JSON file and never copies it. From then on a missing file, a changed file and
another commit are refused in one line. The Hub's files are read from the cache of `huggingface_hub`; this module downloads
nothing.

Hashing 14 GB takes half a minute, so that the hash of a large file is remembered in the user's own cache, by the file's
path, inode, size and times. A project's files never say what a hash is: another person's project cannot vouch for a file.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csrdata.errors import UserError
from csrdata.storage.disk import hash_path, read_json, write_json
from csrdata.validation import explain

LARGE = 2**24
"""Bytes from which on a hash is remembered."""

HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"
COMMIT = r"^[0-9a-f]{40}$"


Pixels = Annotated[int, Field(ge=1, le=2**30)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FileFacts(_Strict):
    """What a file must be."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Pinned(_Strict):
    """A model by its files: `id` and `revision` on the Hub, or a `folder`."""

    id: Annotated[str, Field(pattern=HUB_ID)] | None = None
    revision: Annotated[str, Field(pattern=COMMIT)] | None = None
    """The commit."""
    asked: Annotated[str, Field(max_length=250)] | None = None
    """The branch, tag or commit that params.yaml named; None for the main branch."""
    folder: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Relative to the project, or absolute."""
    files: dict[str, FileFacts]
    min_pixels: Pixels | None = None
    """Pixels of an image after resizing, at least; None: the processor's own limit. Of a policy alone."""
    max_pixels: Pixels | None = None
    """At most."""

    @property
    def name(self) -> str:
        """The model in words: `OWNER/NAME@commit`, or its folder."""
        return self.folder if self.folder is not None else f"{self.id}@{(self.revision or '')[:12]}"

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.bytes for file in self.files.values())


def read_pinned(path: Path, *, made_by: str) -> Pinned:
    """Read the record of a model.

    Raises:
        UserError: the file is missing, malformed, or names a file outside the model's folder.
    """
    raw = read_json(path, made_by=made_by)
    try:
        found = Pinned.model_validate(raw)
    except ValidationError as error:
        raise explain(error, Pinned, raw, place=str(path), do=made_by) from None
    if (found.folder is None) == (found.id is None) or (found.id is None) != (found.revision is None):
        got = (
            ", ".join(key for key in ("id", "revision", "folder") if raw.get(key) is not None)
            or "none of them"
        )
        raise UserError(str(path), got=got, expected="either id and revision, or folder", do=made_by)
    for name in found.files:
        if not _is_inside(name):
            expected = "a relative path inside the model's folder"
            raise UserError(f"{path}: files", got=name, expected=expected, do=made_by)
    return found


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    odd = path.is_absolute() or ".." in path.parts or not path.name
    return not odd and "\\" not in name and name.isprintable()


def write_pinned(path: Path, pinned: Pinned) -> None:
    """Write the record of a model; what it leaves open is left out."""
    write_json(path, pinned.model_dump(exclude_none=True))


def facts(folder: Path, names: Iterable[str]) -> dict[str, FileFacts]:
    """Return the size and hash of some files of a folder."""
    return {
        name: FileFacts(bytes=(folder / name).stat().st_size, sha256=hash_once(folder / name))
        for name in sorted(names)
    }


def place_of(pinned: Pinned) -> Path:
    """Return the folder of a model's files, whether or not they are there: its own, or the one in the Hub's cache."""
    if pinned.folder is not None:
        return Path(pinned.folder)
    from huggingface_hub import constants

    name = f"models--{(pinned.id or '').replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE) / name / "snapshots" / (pinned.revision or "")


def checked_folder(pinned: Pinned, *, place: str, made_by: str) -> Path:
    """Return the folder of a model whose files are all there and unchanged.

    Args:
        place: the record, for errors.
        made_by: the command that makes the record.

    Raises:
        UserError: a file is missing or changed; the command that brings it, or that records the change, is named.
    """
    folder = place_of(pinned)
    for name, expected in sorted(pinned.files.items()):
        path = folder / name
        if not path.is_file():
            raise UserError(
                f"{place}: {name}",
                got=f"no such file in {folder}",
                expected=f"the files of {pinned.name}",
                do=_bring(pinned),
            )
        size = path.stat().st_size
        if size != expected.bytes or hash_once(path) != expected.sha256:
            got = f"{size:,} bytes" if size != expected.bytes else "other bytes of the same length"
            raise UserError(
                f"{place}: {name}",
                got=f"{got} in {path}",
                expected=f"{expected.bytes:,} bytes, SHA-256 {expected.sha256[:12]}…, as recorded",
                do=_again(pinned, place, made_by),
            )
    return folder


def _bring(pinned: Pinned) -> str:
    if pinned.id is None:
        return "put the file back, or name another folder in params.yaml, then: dvc repro"
    return f"hf download {pinned.id} --revision {pinned.revision}"


def _again(pinned: Pinned, place: str, made_by: str) -> str:
    if pinned.id is not None:
        return f"remove the file, then: {_bring(pinned)}"
    return f"put the old file back; or, to use the new one: rm {place}, then: {made_by}"


def hash_once(path: Path) -> str:
    """Return the SHA-256 of a file; that of a large one is remembered for this user on this machine."""
    real = path.resolve()
    stat = real.stat()
    if stat.st_size < LARGE:
        return hash_path(real)
    # The time of the last change of the inode cannot be set: a file that was edited has another.
    state = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    known = _read_cache().get(str(real))
    if isinstance(known, list) and known[:-1] == state and isinstance(known[-1], str):
        return known[-1]
    with real.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):  # a cache that cannot be written costs time alone
        kept = {name: value for name, value in _read_cache().items() if Path(name).exists()}
        write_json(_cache(), {**kept, str(real): [*state, found]})
    return found


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "csrdata" / "sha256.json"


def _read_cache() -> Mapping[str, object]:
    try:
        value = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
