"""Download a tagged dataset from the Hub into a folder, complete and checked, or not at all.

A dataset may come from a stranger. Its manifest is downloaded first and compared with the Hub's list of files: both must
have the same files and sizes, every file must be part of a release's layout, and the total size must be within the limit.
Only these files are downloaded, into a folder next to the target. They are compared with the manifest's hashes, then the
folder is renamed to the target. After an interruption, the same command continues where it stopped. `restore.py` checks the
contents of the tables.
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
from csrdata.hub_client import PATIENCE, PAUSES, Connection, connect, tell
from csrdata.publishing.folders import room
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
"""The most bytes of one fetch, enough for ten iterations. An iteration of 13,000 COCO images takes 3 GB: the row of a pair
holds its image, 160 kB on average, and a prompt has about 150 candidates of 400 bytes."""

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
        repo_id: `OWNER/NAME` on the Hub.
        revision: a tag or a commit.
        folder: the target; must be missing or empty.
        max_size: the most bytes of all downloaded files.
        token, endpoint, patience, pauses, say: see `hub_client.connect`.
        only: download only the manifest and files that match one of these patterns, such as `csrdata/*`; `*` also matches
            `/`.

    Raises:
        UserError: the folder is not empty, the repository or revision does not exist, the Hub did not answer, the disk is
            full, the release is too large, or a file is not what the manifest says. Downloaded files are kept if the same
            command can continue, and removed if the release is refused.
    """
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(
            str(folder),
            got="something is there",
            expected="a new or empty folder",
            do="choose another folder, or remove it",
        )
    options: dict[str, Any] = {"token": token, "endpoint": endpoint, "patience": patience}
    with connect(repo_id, repo_type="dataset", **options, pauses=pauses, say=say) as connection:
        commit = _resolve(connection, revision)
        place = f"{connection.place}@{revision}"
        # Named after the commit, so that leftovers of another commit are never used.
        partial = partial_of(folder, commit)
        if partial.is_symlink():
            raise UserError(str(partial), got="a link", expected="a folder or nothing", do="remove it")
        there = _list_files(connection, commit, place=place)
        connection.state = f"the files downloaded so far are kept in {partial.name}"
        try:
            wanted = _choose(connection, commit, partial, there, place=place, only=only, max_size=max_size)
        except Refusal:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _download(connection, commit, partial, sorted(wanted))
    _check_files(partial, wanted, there, place=place)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    if folder.is_dir():
        folder.rmdir()
    partial.rename(folder)
    return commit


def partial_of(folder: Path, commit: str) -> Path:
    """Return the temporary folder for the files of a commit."""
    return folder.with_name(f"{folder.name}.{commit[:12]}{PARTIAL}")


class Refusal(UserError):
    """The release itself is refused: its files are removed, and a second try does not help."""


def _resolve(connection: Connection, revision: str) -> str:
    """Return a revision's commit; if it does not exist, the error names the nearest tag."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return str(connection.ask(lambda: connection.api.repo_info(**connection.here, revision=revision)).sha)
    except RevisionNotFoundError:
        tags = [
            ref.name for ref in connection.ask(lambda: connection.api.list_repo_refs(**connection.here)).tags
        ]
        near = (difflib.get_close_matches(revision, tags, n=1, cutoff=0.3) or tags[-1:] or ["COMMIT"])[0]
        raise UserError(
            f"{connection.place}: revision",
            got=revision,
            expected=f"one of {', '.join(tags)}" if tags else "a commit (it has no tags)",
            do=f"csrdata pull {connection.repo_id}@{near}",
        ) from None


def _list_files(connection: Connection, commit: str, *, place: str) -> dict[str, Any]:
    """Return the Hub's own list of a commit's files, by path."""
    from huggingface_hub.hf_api import RepoFile

    def look() -> list[Any]:
        tree = connection.api.list_repo_tree(**connection.here, recursive=True, revision=commit)
        return [
            one for one in islice(tree, 3 * MAX_FILES) if isinstance(one, RepoFile)
        ]  # folders are listed too

    files = connection.ask(look)
    if len(files) > MAX_FILES + len(HUBS_OWN):
        raise UserError(
            place, got=f"{len(files):,} files or more", expected=f"at most {MAX_FILES:,}", do=ELSEWHERE
        )
    return {file.path: file for file in files if file.path not in HUBS_OWN}


def _choose(
    connection: Connection,
    commit: str,
    partial: Path,
    there: Mapping[str, Any],
    *,
    place: str,
    only: Sequence[str],
    max_size: int,
) -> dict[str, File]:
    """Download the manifest, compare it with the Hub's list, and return the files to download, by path."""
    manifest = _manifest(connection, commit, partial, there, place=place)
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
    connection: Connection, commit: str, partial: Path, there: Mapping[str, Any], *, place: str
) -> Manifest:
    if MANIFEST not in there:
        raise Refusal(
            place, got=f"no {MANIFEST}", expected="a dataset pushed by csrdata", do="choose another dataset"
        )
    if there[MANIFEST].size > MANIFEST_BYTES:
        got = f"{there[MANIFEST].size:,} bytes"
        raise Refusal(f"{place}: {MANIFEST}", got=got, expected=f"at most {MANIFEST_BYTES:,}", do=ELSEWHERE)
    _download(connection, commit, partial, [MANIFEST])
    try:
        content = read_bounded(partial / MANIFEST, limit=MANIFEST_BYTES, do=ELSEWHERE)
        manifest = parse_manifest(content, place=f"{place}: {MANIFEST}")
        check_manifest(manifest, place=f"{place}: {MANIFEST}", do=ELSEWHERE)
        check_counts(manifest, place=f"{place}: {MANIFEST}", do=ELSEWHERE)
    except UserError as error:
        raise Refusal(error.place, got=error.got, expected=error.expected, do=error.do) from None
    return manifest


def _download(connection: Connection, commit: str, partial: Path, paths: Sequence[str]) -> None:
    """Download files of a commit; after a cut connection, first the library and then the next call continue."""
    from huggingface_hub import snapshot_download

    again = f"make room, then the same command again ({connection.state})"
    with room(partial, expected="room for the whole dataset", do=again):
        connection.ask(
            lambda: snapshot_download(
                **connection.here,
                revision=commit,
                local_dir=partial,
                endpoint=connection.api.endpoint,
                token=connection.token or False,
                allow_patterns=list(paths),  # paths of a release's layout, which contain no wildcard
            )
        )


def _check_files(folder: Path, wanted: Mapping[str, File], there: Mapping[str, Any], *, place: str) -> None:
    """Compare every downloaded file with the manifest.

    A file that differs from the Hub's was damaged in transit: it is removed, and the next try downloads it again. If a file
    equals the Hub's but does not have the manifest's hash, the release is invalid: all of it is removed.
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
