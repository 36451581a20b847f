"""Download a tagged dataset from the Hub into a folder, complete and checked, or not at all.

A dataset may come from a stranger. Its manifest comes first and is compared with the Hub's own list of files: every file
is one that a release may hold, is in both, has one size and fits the limit. Only those files are asked for. They come into a
folder next to the target, are compared with the manifest's hashes, then the folder takes the target's name. After an
interruption, the same command continues where it stopped. `restore.py` checks what the tables contain.
"""

import difflib
import fnmatch
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.publishing.folders import room
from csrdata.publishing.hub.client import PATIENCE, PAUSES, Connection, connect, tell
from csrdata.publishing.hub.pushing import HUBS_OWN, REPO_ID, blob_id
from csrdata.publishing.release.manifest import (
    ELSEWHERE,
    MANIFEST,
    MANIFEST_BYTES,
    MAX_FILES,
    File,
    Manifest,
    check_counts,
    check_manifest,
    parse_manifest,
)
from csrdata.publishing.release.untrusted import read_bounded
from csrdata.storage.tables import PARTIAL, hash_path

SCHEME = "hf://datasets/"
_FORM = re.compile(rf"(?P<repo_id>{REPO_ID.pattern})@(?P<revision>\S+)")

MAX_SIZE = 32_000_000_000
"""Bytes of the files of one fetch. An iteration of 13,000 COCO images takes 3 GB: each image, 160 kB on average, is in its
pair's row, and some 150 candidates of 400 bytes are kept per prompt. So ten iterations fit."""

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset of the Hub at one tag (or commit)."""

    repo_id: str
    revision: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo_id}@{self.revision}"


def is_source(text: str) -> bool:
    """Return whether a command-line argument names a dataset on the Hub."""
    return text.startswith("hf://")


def parse_source(text: str) -> Source:
    """Parse `OWNER/NAME@TAG` or `hf://datasets/OWNER/NAME@TAG`; the tag is required, as a dataset changes over time.

    Example: `parse_source("hf://datasets/me/set@v1")` -> `Source("me/set", "v1")`

    Raises:
        UserError: the text has neither form.
    """
    found = _FORM.fullmatch(text.removeprefix(SCHEME))
    if found is None:
        raise UserError(
            "the dataset",
            got=text,
            expected=f"OWNER/NAME@TAG or {SCHEME}OWNER/NAME@TAG",
            do="csrdata pull --help",
        )
    return Source(found["repo_id"], found["revision"])


def parse_size(text: str) -> int:
    """Parse a size and return it in bytes; units are decimal.

    Example: "50GB" -> 50_000_000_000; "1.5 mb" -> 1_500_000

    Raises:
        UserError: the text is not a positive size.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?b)?", text.strip().lower(), re.ASCII)
    size = 0 if found is None else round(float(found[1]) * _UNITS[found[2] or "b"])
    if size < 1:
        raise UserError("--max-size", got=text, expected="a size such as 50GB", do="csrdata pull --help")
    return size


def fetch(
    repo_id: str,
    revision: str,
    folder: Path,
    *,
    max_size: int = MAX_SIZE,
    token: str | None = None,
    endpoint: str | None = None,
    patience: float = PATIENCE,
    pauses: Sequence[float] = PAUSES,
    say: Callable[[str], None] = tell,
    only: Sequence[str] = ("*",),
) -> str:
    """Download the files of a release into a new folder, and return its commit, 40 hex digits.

    Args:
        revision: a tag or a commit.
        folder: must be missing or empty.
        max_size: bytes of all files that are asked for.
        token, endpoint, patience, pauses, say: see `client.connect`.
        only: patterns such as `csrdata/*`, of which a `*` matches `/` too: no other file comes, the manifest excepted.

    Raises:
        UserError: the folder holds something, repository or revision are not there, the Hub did not answer, the disk is
            full, the release is too large, or a file is not what the manifest says. What came is kept where the same command
            may do better, and removed where the release itself is refused.
    """
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(
            str(folder),
            got="it holds something",
            expected="a new folder",
            do="choose another folder, or remove it",
        )
    options: dict[str, Any] = {"token": token, "endpoint": endpoint, "patience": patience}
    with connect(repo_id, repo_type="dataset", **options, pauses=pauses, say=say) as line:
        commit = _resolve(line, revision)
        place = f"{line.place}@{revision}"
        # Named for the commit, so that what is left of another one is never taken for a part of it.
        partial = partial_of(folder, commit)
        if partial.is_symlink():
            raise UserError(str(partial), got="a link", expected="a folder or nothing", do="remove it")
        there = _list_files(line, commit, place=place)
        line.state = f"what came so far is kept in {partial.name}"
        try:
            wanted = _choose(line, commit, partial, there, place=place, only=only, max_size=max_size)
        except Refusal:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _download(line, commit, partial, sorted(wanted))
    _check_files(partial, wanted, there, place=place)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    if folder.is_dir():
        folder.rmdir()
    partial.rename(folder)
    return commit


def partial_of(folder: Path, commit: str) -> Path:
    """Return where the files of a commit are until all of them are there."""
    return folder.with_name(f"{folder.name}.{commit[:12]}{PARTIAL}")


class Refusal(UserError):
    """The release itself is refused: nothing of it is kept, and no second try helps."""


def _resolve(line: Connection, revision: str) -> str:
    """Return a revision's commit; if it does not exist, the error names the nearest tag."""
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


def _list_files(line: Connection, commit: str, *, place: str) -> dict[str, Any]:
    """Return the Hub's own list of a commit's files, by path."""
    from huggingface_hub.hf_api import RepoFile

    def look() -> list[Any]:
        tree = line.api.list_repo_tree(**line.here, recursive=True, revision=commit)
        return [
            one for one in islice(tree, 3 * MAX_FILES) if isinstance(one, RepoFile)
        ]  # folders are listed too

    files = line.ask(look)
    if len(files) > MAX_FILES + len(HUBS_OWN):
        raise UserError(
            place, got=f"{len(files):,} files or more", expected=f"at most {MAX_FILES:,}", do=ELSEWHERE
        )
    return {file.path: file for file in files if file.path not in HUBS_OWN}


def _choose(
    line: Connection,
    commit: str,
    partial: Path,
    there: Mapping[str, Any],
    *,
    place: str,
    only: Sequence[str],
    max_size: int,
) -> dict[str, File]:
    """Bring the manifest, compare it with the Hub's list, and return the files to bring, by path."""
    manifest = _manifest(line, commit, partial, there, place=place)
    listed = {file.path: file for file in manifest.files}
    for path in sorted(there.keys() ^ {*listed, MANIFEST}):
        got = "not in the manifest" if path in there else "no such file"
        shown = path[:200] if path.isprintable() else ascii(path)[:200]
        raise Refusal(f"{place}: {shown}", got=got, expected="the files of the manifest", do=ELSEWHERE)
    for path, file in listed.items():
        known = there[path].lfs
        if there[path].size != file.bytes or (known is not None and known.sha256 != file.sha256):
            got = (
                f"{there[path].size:,} bytes on the Hub"
                if there[path].size != file.bytes
                else "other bytes on the Hub"
            )
            expected = f"{file.bytes:,} bytes, SHA-256 {file.sha256[:12]}…, as the manifest says"
            raise Refusal(f"{place}: {path}", got=got, expected=expected, do=ELSEWHERE)
    wanted = {
        path: file
        for path, file in listed.items()
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in only)
    }
    size = sum(file.bytes for file in wanted.values()) + there[MANIFEST].size
    if size > max_size:
        enough = -(-size // 10**9)
        raise Refusal(
            place,
            got=f"{size / 1e9:,.3g} GB in {len(wanted):,} files",
            expected=f"at most {max_size / 1e9:,.3g} GB",
            do=f"if that is what you want: csrdata pull {place.removeprefix('hub ')} --max-size {enough}GB",
        )
    return wanted


def _manifest(
    line: Connection, commit: str, partial: Path, there: Mapping[str, Any], *, place: str
) -> Manifest:
    if MANIFEST not in there:
        raise Refusal(
            place, got=f"no {MANIFEST}", expected="a dataset that csrdata pushed", do="choose another dataset"
        )
    if there[MANIFEST].size > MANIFEST_BYTES:
        got = f"{there[MANIFEST].size:,} bytes"
        raise Refusal(f"{place}: {MANIFEST}", got=got, expected=f"at most {MANIFEST_BYTES:,}", do=ELSEWHERE)
    _download(line, commit, partial, [MANIFEST])
    try:
        content = read_bounded(partial / MANIFEST, limit=MANIFEST_BYTES, do=ELSEWHERE)
        manifest = parse_manifest(content, place=f"{place}: {MANIFEST}")
        check_manifest(manifest, place=f"{place}: {MANIFEST}", do=ELSEWHERE)
        check_counts(manifest, place=f"{place}: {MANIFEST}", do=ELSEWHERE)
    except UserError as error:
        raise Refusal(error.place, got=error.got, expected=error.expected, do=error.do) from None
    return manifest


def _download(line: Connection, commit: str, partial: Path, paths: Sequence[str]) -> None:
    """Bring files of a commit; a cut connection is taken up again by the library, then by the next call."""
    from huggingface_hub import snapshot_download

    again = f"make room, then the same command again ({line.state})"
    with room(partial, expected="room for the whole dataset", do=again):
        line.ask(
            lambda: snapshot_download(
                **line.here,
                revision=commit,
                local_dir=partial,
                endpoint=line.api.endpoint,
                token=line.token or False,
                allow_patterns=list(paths),  # of a release's layout: no path holds a wildcard
            )
        )


def _check_files(folder: Path, wanted: Mapping[str, File], there: Mapping[str, Any], *, place: str) -> None:
    """Compare every file that came with the manifest.

    A file that the Hub holds otherwise was damaged on the way: it is removed, and the next try brings it again. A file that
    is the Hub's own and not the manifest's speaks against the release: all of it is removed.
    """
    for path, file in wanted.items():
        here = folder / path
        whole = here.is_file() and not here.is_symlink() and here.stat().st_size == file.bytes
        if whole and hash_path(here) == file.sha256:
            continue
        if whole and there[path].lfs is None and blob_id(here) == there[path].blob_id:
            shutil.rmtree(folder, ignore_errors=True)
            got, expected = "other bytes than its manifest says", f"SHA-256 {file.sha256[:12]}…"
            raise Refusal(f"{place}: {path}", got=got, expected=expected, do=ELSEWHERE)
        here.unlink(missing_ok=True)
        raise UserError(
            f"{place}: {path}",
            got="other bytes than the Hub holds",
            expected=f"SHA-256 {file.sha256[:12]}…",
            do="the same command again",
        )
