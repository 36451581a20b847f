"""Push a folder to the Hub: one commit with all files, then a tag at that commit.

Nothing is visible before the commit, and the commit is complete: it deletes files that the folder no longer has, and it is
refused if somebody else commits at the same time. Uploads before a failure are reused by the next try. The same identity is
not pushed again, and an existing tag is never moved. A folder must hold `provenance/manifest.json` with an `identity`, as
releases and models do.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrdata.errors import UserError
from csrdata.hub_client import LOGIN, PATIENCE, PAUSES, Connection, RepoType, connect, tell
from csrdata.publishing.release.manifest import ELSEWHERE, MANIFEST, MANIFEST_BYTES
from csrdata.publishing.release.untrusted import parse_json, read_bounded

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
TAG = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?")

HUBS_OWN = {".gitattributes"}
"""Files that the Hub adds to a repository."""

BLANK = HUBS_OWN | {".gitignore", "LICENSE", "README.md"}
"""Files that a repository newly created on the Hub's website may hold."""

DESCRIBING = ("README.md", "plots/", "provenance/")
"""Paths that may differ between two pushes of one identity: they describe the data."""

_READABLE = 1 << 23
"""The most bytes of a file that is searched for the token; larger files are data."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push."""

    repo_id: str
    commit: str
    """The commit that holds the folder, 40 hex digits."""
    tag: str | None
    committed: bool
    """Whether a commit was made; False if the repository already had this identity."""
    tagged: bool
    """Whether a tag was created; False if no tag was given, or if it already existed."""
    url: str


@dataclass(frozen=True, slots=True)
class _Head:
    """The state of a repository before a push."""

    commit: str
    tags: dict[str, str]
    """The commit of each tag."""
    private: bool


def push_folder(
    folder: Path,
    *,
    repo_id: str,
    message: str,
    repo_type: RepoType = "dataset",
    tag: str | None = None,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
    patience: float = PATIENCE,
    pauses: Sequence[float] = PAUSES,
    say: Callable[[str], None] = tell,
) -> Pushed:
    """Publish a folder as one commit, and tag it; a second call after a failure does only what is missing.

    Args:
        folder: published with all its files; it holds `provenance/manifest.json` with an `identity`.
        repo_id: `OWNER/NAME`; created if it does not exist.
        message: the commit's first line.
        repo_type: `dataset` or `model`.
        tag: refused if it exists with another identity.
        private: create a private repository; an existing public one is refused, not made private.
        token, endpoint, patience, pauses, say: see `hub_client.connect`.

    Raises:
        UserError: the name, the tag or the folder is invalid; the token is missing, refused or contained in a file of the
            folder; the tag exists with another identity; or a request failed. The error says what was published: nothing,
            or the commit without its tag.
    """
    check_name(repo_id, tag)
    identity = _identity_of(folder)
    options: dict[str, Any] = {"token": token, "endpoint": endpoint, "patience": patience}
    with connect(repo_id, repo_type=repo_type, **options, pauses=pauses, say=say) as connection:
        if connection.token is None:
            raise UserError(
                connection.place,
                got="no token",
                expected="one that may write",
                do=f"{LOGIN}, or set HF_TOKEN",
            )
        _refuse_token_inside(folder, connection.token)
        head = _open(connection, private=private)
        url = _url(connection, tag)
        if tag in head.tags:
            return Pushed(repo_id, _published(connection, head, tag, identity), tag, False, False, url)
        commit = _same_at_head(connection, head, folder, identity)
        committed = commit is None
        if commit is None:
            commit = _commit(connection, head, folder, message)
        connection.state = f"the files are published as commit {commit[:12]}, only the tag is missing"
        if tag is not None:
            _tag(connection, tag, commit)
        return Pushed(repo_id, commit, tag, committed, tag is not None, url)


def published_manifest(
    repo_id: str,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    say: Callable[[str], None] = tell,
) -> bytes | None:
    """Return a repository's manifest, by default at its head; None if the repository or the manifest does not exist.

    Raises:
        UserError: a request failed, or the manifest is too large.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    check_name(repo_id, None)
    with connect(repo_id, repo_type=repo_type, token=token, endpoint=endpoint, say=say) as connection:
        try:
            info = connection.ask(lambda: connection.api.repo_info(**connection.here, revision=revision))
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:
                raise
            return None
        return _manifest_at(connection, str(info.sha))


def blob_id(path: Path) -> str:
    """Return a file's SHA-1 as git computes it, 40 hex digits: the Hub's hash of a file that is not in LFS."""
    return _blob_id(path.read_bytes())


def check_name(repo_id: str, tag: str | None) -> None:
    """Validate the names of a repository and a tag.

    Raises:
        UserError: a name is malformed.
    """
    if not REPO_ID.fullmatch(repo_id):
        raise UserError("the repository", got=repo_id, expected="OWNER/NAME", do="csrdata push --help")
    if tag is not None and (not TAG.fullmatch(tag) or ".." in tag or tag.endswith(".lock")):
        raise UserError("--tag", got=tag, expected="a tag such as v1.0.0", do="csrdata push --help")


def _identity_of(folder: Path) -> str:
    """Return the identity in the folder's manifest."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        raise UserError(
            str(folder / MANIFEST),
            got="no identity",
            expected="a release's manifest",
            do="csrdata push --help",
        )
    return found


def _refuse_token_inside(folder: Path, token: str) -> None:
    """Refuse a folder with a file that contains the user's Hub token: the files may become public."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size < _READABLE and token.encode() in path.read_bytes():
            name = path.relative_to(folder).as_posix()
            raise UserError(
                name,
                got="your Hub token in it",
                expected="no secret",
                do=f"remove it from the source of {name}",
            )


def _open(connection: Connection, *, private: bool) -> _Head:
    """Return the repository's head and tags; create the repository if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    def look() -> _Head:
        info = connection.api.repo_info(**connection.here)
        refs = connection.api.list_repo_refs(**connection.here)
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        return _Head(str(info.sha), tags, bool(info.private))

    try:
        head = connection.ask(look)
    except RepositoryNotFoundError as error:
        if error.response.status_code != 404:
            raise
        connection.ask(lambda: connection.api.create_repo(**connection.here, private=private, exist_ok=True))
        connection.state = f"an empty {connection.repo_type} was created there"
        head = connection.ask(look)
    if private and not head.private:
        raise UserError(
            f"{connection.place}: --private",
            got="a public repository",
            expected="a private one",
            do="make it private in its settings on the Hub, or choose another NAME",
        )
    return head


def _published(connection: Connection, head: _Head, tag: str, identity: str) -> str:
    """Return the tag's commit if it has this identity; refuse otherwise, because a tag is never moved."""
    commit = head.tags[tag]
    if _identity_at(connection, commit) != identity:
        raise UserError(
            f"{connection.place}: tag {tag}",
            got=f"a tag at commit {commit[:12]} with other data",
            expected="a new tag (a tag is never moved)",
            do="choose another --tag",
        )
    connection.say(f"{connection.place}: {tag} is this dataset: nothing to push")
    return commit


def _same_at_head(connection: Connection, head: _Head, folder: Path, identity: str) -> str | None:
    """Return the head's commit if it has this identity and the same data, as files may have been edited on the Hub."""
    if _identity_at(connection, head.commit) != identity:
        return None
    data = [one for one in _additions(folder) if not one.path_in_repo.startswith(DESCRIBING)]
    if _differences(connection, head.commit, data):
        return None
    connection.say(f"{connection.place}: the head is this dataset: no new commit")
    return head.commit


def _commit(connection: Connection, head: _Head, folder: Path, message: str) -> str:
    """Upload the files that the Hub lacks, commit them together, and verify the commit."""
    from huggingface_hub import CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    additions = _additions(folder)
    paths = {one.path_in_repo for one in additions}
    there = {file.path for file in connection.ask(lambda: _files(connection, head.commit))}
    if MANIFEST not in there and (foreign := sorted(there - BLANK)):
        raise UserError(
            connection.place,
            got=f"{len(foreign)} files that csrdata did not publish, the first {foreign[0]}",
            expected="an empty repository, or a release (its other files would be deleted)",
            do="choose another NAME",
        )
    gone = sorted(there - paths - HUBS_OWN)
    # Without this, a .gitignore in the repository would silently leave files out.
    connection.api.preupload_lfs_files(
        connection.repo_id, additions, repo_type=connection.repo_type, free_memory=False, gitignore_content=""
    )
    operations: list[Any] = [*additions, *(CommitOperationDelete(path) for path in gone)]

    def send() -> str:
        now = str(connection.api.repo_info(**connection.here).sha)
        if now == head.commit:
            try:
                made = connection.api.create_commit(
                    **connection.here,
                    operations=operations,
                    commit_message=message,
                    parent_commit=head.commit,
                )
            except HfHubHTTPError as error:
                if error.response.status_code != 412:
                    raise
                now = str(connection.api.repo_info(**connection.here).sha)
            else:
                return str(made.oid)
        # The head has moved: by an earlier try whose response was lost, or by somebody else.
        if _differences(connection, now, additions):
            raise UserError(
                connection.place,
                got=f"a new commit by somebody else, {now[:12]}",
                expected=f"{head.commit[:12]} as it was before",
                do="check that commit, then the same command again (none of your files was published)",
            )
        return now

    commit = connection.ask(send)
    missing = _differences(connection, commit, additions)
    if missing:
        connection.state = f"commit {commit[:12]} is published without a tag"
        raise UserError(
            f"{connection.place}: commit {commit[:12]}",
            got=f"{len(missing)} of {len(additions)} files differ from the sent ones, the first {missing[0]}",
            expected="every file as it was sent",
            do=f"the same command again ({connection.state})",
        )
    return commit


def _tag(connection: Connection, tag: str, commit: str) -> None:
    """Create the tag, and check that it points at the commit."""
    from huggingface_hub.errors import HfHubHTTPError

    def make() -> str | None:
        try:
            connection.api.create_tag(**connection.here, tag=tag, revision=commit)
        except HfHubHTTPError as error:
            # It exists: from a try whose response was lost, or from somebody else.
            if error.response.status_code != 409:
                raise
        refs = connection.api.list_repo_refs(**connection.here)
        return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)

    found = connection.ask(make)
    if found != commit:
        raise UserError(
            f"{connection.place}: tag {tag}",
            got="no such tag" if found is None else f"a tag at commit {found[:12]}",
            expected=f"commit {commit[:12]} (a tag is never moved)",
            do="the same command again, with another --tag if this one is taken",
        )


def _additions(folder: Path) -> "list[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]


def _files(connection: Connection, commit: str) -> list[Any]:
    from huggingface_hub.hf_api import RepoFile

    tree = connection.api.list_repo_tree(**connection.here, recursive=True, revision=commit)
    return [item for item in tree if isinstance(item, RepoFile)]


def _differences(connection: Connection, commit: str, additions: "Sequence[CommitOperationAdd]") -> list[str]:
    """Return the paths that are missing from a commit or have other bytes in it."""
    there = {file.path: file for file in connection.ask(lambda: _files(connection, commit))}
    return [one.path_in_repo for one in additions if not _is_same(one, there.get(one.path_in_repo))]


def _is_same(addition: "CommitOperationAdd", file: Any) -> bool:
    """Compare sizes, then hashes: SHA-256 for an LFS file, git's SHA-1 for a regular one."""
    if file is None or file.size != addition.upload_info.size:
        return False
    if file.lfs is not None:
        return bool(file.lfs.sha256 == addition.upload_info.sha256.hex())
    with addition.as_file() as stream:
        data = stream.read()
    return bool(file.blob_id == _blob_id(data))


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _identity_at(connection: Connection, commit: str) -> object:
    """Return the identity in a commit's manifest; None if it is missing or unreadable."""
    content = _manifest_at(connection, commit)
    try:
        found = None if content is None else parse_json(content, place=MANIFEST, do=ELSEWHERE)
    except UserError:
        return None
    return found.get("identity") if isinstance(found, dict) else None


def _manifest_at(connection: Connection, commit: str) -> bytes | None:
    """Return the manifest in a commit, or None without one."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    url = hf_hub_url(**connection.here, filename=MANIFEST, revision=commit, endpoint=connection.api.endpoint)
    try:
        size = connection.ask(lambda: get_hf_file_metadata(url, token=connection.token or False)).size
    except RemoteEntryNotFoundError:
        return None
    if size is None or size > MANIFEST_BYTES:
        raise UserError(
            f"{connection.place}: {MANIFEST}",
            got="no size" if size is None else f"{size:,} bytes",
            expected=f"at most {MANIFEST_BYTES:,}",
            do=ELSEWHERE,
        )
    with tempfile.TemporaryDirectory() as folder:
        path = hf_hub_download(
            **connection.here,
            filename=MANIFEST,
            revision=commit,
            local_dir=folder,
            endpoint=connection.api.endpoint,
            token=connection.token or False,
        )
        return read_bounded(Path(path), limit=MANIFEST_BYTES, do=ELSEWHERE)


def _url(connection: Connection, tag: str | None) -> str:
    prefix = "" if connection.repo_type == "model" else f"{connection.repo_type}s/"
    return f"{connection.api.endpoint}/{prefix}{connection.repo_id}" + (f"/tree/{tag}" if tag else "")
