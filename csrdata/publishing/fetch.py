"""A tagged data set from the Hub to a folder: whole and checked, or not there.

Files come into a folder beside the target and are held against the manifest that came with them; then the folder takes
the target's name. After a cut, the same command goes on where it stopped. What the tables in it mean is `release.py`'s.
"""

import difflib
import fnmatch
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.publishing.client import PATIENCE, PAUSES, Connection, RepoType, connect, tell
from csrdata.publishing.disk import room
from csrdata.publishing.hub import HUBS_OWN, REPO_ID
from csrdata.publishing.manifest import MANIFEST
from csrdata.publishing.restore import is_inside
from csrdata.tables import PARTIAL, hash_path

SCHEME = "hf://datasets/"
_FORM = re.compile(rf"(?P<repo_id>{REPO_ID.pattern})@(?P<revision>\S+)")


@dataclass(frozen=True, slots=True)
class Source:
    """A data set of the Hub at one tag (or commit)."""

    repo_id: str
    revision: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo_id}@{self.revision}"


def is_source(text: str) -> bool:
    """Say whether a word of the command line names a data set of the Hub."""
    return text.startswith("hf://")


def parse_source(text: str) -> Source:
    """Read `OWNER/NAME@TAG` or `hf://datasets/OWNER/NAME@TAG`; without a tag, a name says nothing lasting.

    Example: `parse_source("hf://datasets/me/set@v1")` -> `Source("me/set", "v1")`

    Raises:
        UserError: it is neither.
    """
    found = _FORM.fullmatch(text.removeprefix(SCHEME))
    if found is None:
        raise UserError(
            "the data set",
            got=text,
            expected=f"OWNER/NAME@TAG or {SCHEME}OWNER/NAME@TAG",
            do="csrdata pull --help",
        )
    return Source(found["repo_id"], found["revision"])


def fetch(
    repo_id: str,
    revision: str,
    folder: Path,
    *,
    repo_type: RepoType = "dataset",
    token: str | None = None,
    endpoint: str | None = None,
    patience: float = PATIENCE,
    pauses: Sequence[float] = PAUSES,
    say: Callable[[str], None] = tell,
    only: Sequence[str] | None = None,
) -> str:
    """Bring the files of a revision into a new folder, and return its commit, 40 hex digits.

    Args:
        revision: a tag or a commit.
        folder: must not be there, or be empty.
        token, endpoint, patience, pauses, say: see `client.connect`.
        only: patterns such as `csrdata/*`, of which a `*` matches `/` too: no other file comes, the manifest excepted.

    Raises:
        UserError: the folder holds something, repository or revision are not there, the Hub did not answer, the disk is
            full, or a file is not what the manifest says.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(
            str(folder),
            got="it holds something",
            expected="a new folder",
            do="choose another folder, or remove it",
        )
    options: dict[str, Any] = {"token": token, "endpoint": endpoint, "patience": patience}
    with connect(repo_id, repo_type=repo_type, **options, pauses=pauses, say=say) as line:
        commit = _resolve(line, revision)
        # Named for the commit, so that what is left of another one is never taken for a part of it.
        partial = folder.with_name(f"{folder.name}.{commit[:12]}{PARTIAL}")
        line.state = f"what came so far is kept in {partial.name}"
        _download(line, commit, partial, only=only)
    _check(partial, place=f"{line.place}@{revision}", only=only)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    if folder.is_dir():
        folder.rmdir()
    partial.rename(folder)
    return commit


def _resolve(line: Connection, revision: str) -> str:
    """Return a revision's commit; the nearest tag is named where there is none."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return str(line.ask(lambda: line.api.repo_info(**line.here, revision=revision)).sha)
    except RevisionNotFoundError:
        tags = [ref.name for ref in line.ask(lambda: line.api.list_repo_refs(**line.here)).tags]
        near = (difflib.get_close_matches(revision, tags, n=1, cutoff=0.3) or tags[-1:] or ["COMMIT"])[0]
        raise UserError(
            f"{line.place}: revision",
            got=revision,
            expected=f"one of {', '.join(tags)}" if tags else "a commit (it has no tags)",
            do=f"csrdata pull {line.repo_id}@{near}",
        ) from None


def _download(line: Connection, commit: str, partial: Path, *, only: Sequence[str] | None) -> None:
    """Bring a commit's files; a cut connection is taken up again by the library, then by the next call."""
    from huggingface_hub import snapshot_download

    again = f"make room, then the same command again ({line.state})"
    with room(partial, expected="room for the whole data set", do=again):
        line.ask(
            lambda: snapshot_download(
                **line.here,
                revision=commit,
                local_dir=partial,
                endpoint=line.api.endpoint,
                token=line.token or False,
                ignore_patterns=sorted(HUBS_OWN),
                allow_patterns=None if only is None else [MANIFEST, *only],
            )
        )


def _check(folder: Path, *, place: str, only: Sequence[str] | None) -> None:
    """Hold every file against the manifest; a bad one is removed, so that the next try brings it again."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        wanted = {str(file["path"]): str(file["sha256"]) for file in files}
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            place,
            got=f"no {MANIFEST}",
            expected="a data set that csrdata pushed",
            do="choose another data set",
        ) from None
    for name, sha256 in wanted.items():
        path = folder / name
        if not is_inside(name):
            raise UserError(
                f"{place}: {MANIFEST}", got=name, expected="paths inside it", do="choose another data set"
            )
        if only is not None and not any(fnmatch.fnmatchcase(name, pattern) for pattern in only):
            continue
        if not path.is_file() or hash_path(path) != sha256:
            got = "other bytes than its manifest says" if path.is_file() else "no such file"
            path.unlink(missing_ok=True)
            raise UserError(
                f"{place}: {name}", got=got, expected=f"SHA-256 {sha256[:12]}…", do="the same command again"
            )
