"""A folder to the Hub: one commit that holds all of it, then a tag at that very commit.

Nothing is visible before the commit, and the commit is whole: files that the folder no longer has are deleted in it, and
it is refused if somebody else committed meanwhile. What was uploaded before a failure is there for the next try. The
same identity is not pushed again, an existing tag is never moved. Made for folders that hold `provenance/manifest.json`
with an `identity`: releases and models.
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
from csrdata.publishing.hub.client import LOGIN, PATIENCE, PAUSES, Connection, RepoType, connect, tell
from csrdata.publishing.release.manifest import ELSEWHERE, MANIFEST, MANIFEST_BYTES
from csrdata.publishing.release.untrusted import parse_json, read_bounded

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
TAG = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?")

HUBS_OWN = {".gitattributes"}
"""Files of a repository that are the Hub's, not the folder's."""

BLANK = HUBS_OWN | {".gitignore", "LICENSE", "README.md"}
"""What a repository may hold that was only just made on the Hub's website."""

DESCRIBING = ("README.md", "plots/", "provenance/")
"""What may differ between two pushes of one identity: it describes the data."""

_READABLE = 1 << 23
"""Bytes: larger files are data, in which no token is looked for."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push has done."""

    repo_id: str
    commit: str
    """The commit that holds the folder, 40 hex digits."""
    tag: str | None
    committed: bool
    """False: the repository held this identity already."""
    tagged: bool
    """False: no tag was asked for, or it stood there already."""
    url: str


@dataclass(frozen=True, slots=True)
class _Head:
    """A repository as it is before a push."""

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
    """Publish a folder as one commit, and tag it; run again after a failure, it does what is missing.

    Args:
        folder: all its files go; it holds `provenance/manifest.json` with an `identity`.
        repo_id: `OWNER/NAME`; made if it is not there.
        message: the commit's first line.
        tag: refused if it exists with another identity.
        private: for a new repository; a public one is refused, not made private.
        token, endpoint, patience, pauses, say: see `client.connect`.

    Raises:
        UserError: the name, the tag or the folder is invalid, the token is missing, refused or contained in a file of the
            folder, the tag exists, or the Hub did not do as asked. The line says what was published: nothing, or the
            commit without its tag.
    """
    check_name(repo_id, tag)
    identity = _identity_of(folder)
    options: dict[str, Any] = {"token": token, "endpoint": endpoint, "patience": patience}
    with connect(repo_id, repo_type=repo_type, **options, pauses=pauses, say=say) as line:
        if line.token is None:
            raise UserError(
                line.place, got="no token", expected="one that may write", do=f"{LOGIN}, or set HF_TOKEN"
            )
        _refuse_token_inside(folder, line.token)
        head = _open(line, private=private)
        url = _url(line, tag)
        if tag in head.tags:
            return Pushed(repo_id, _published(line, head, tag, identity), tag, False, False, url)
        commit = _same_at_head(line, head, folder, identity)
        committed = commit is None
        if commit is None:
            commit = _commit(line, head, folder, message)
        line.state = f"the files are published as commit {commit[:12]}, only the tag is missing"
        if tag is not None:
            _tag(line, tag, commit)
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
    """Return the manifest that a repository holds, by default at its head; None where repository or manifest are not there.

    Raises:
        UserError: the Hub did not answer as asked, or the manifest is too large.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    check_name(repo_id, None)
    with connect(repo_id, repo_type=repo_type, token=token, endpoint=endpoint, say=say) as line:
        try:
            info = line.ask(lambda: line.api.repo_info(**line.here, revision=revision))
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:
                raise
            return None
        return _manifest_at(line, str(info.sha))


def blob_id(path: Path) -> str:
    """Return a file's SHA-1 as git has it, 40 hex digits: how the Hub knows a file that is not in LFS."""
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
    """Read the folder's identity."""
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
                name, got="your Hub token in it", expected="no secret", do=f"take it out of what made {name}"
            )


def _open(line: Connection, *, private: bool) -> _Head:
    """Return the repository's head and tags; create the repository if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    def look() -> _Head:
        info = line.api.repo_info(**line.here)
        refs = line.api.list_repo_refs(**line.here)
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        return _Head(str(info.sha), tags, bool(info.private))

    try:
        head = line.ask(look)
    except RepositoryNotFoundError as error:
        if error.response.status_code != 404:
            raise
        line.ask(lambda: line.api.create_repo(**line.here, private=private, exist_ok=True))
        line.state = f"an empty {line.repo_type} was made there"
        head = line.ask(look)
    if private and not head.private:
        raise UserError(
            f"{line.place}: --private",
            got="a repository that everybody can read",
            expected="a private one",
            do="make it private in its settings on the Hub, or choose another NAME",
        )
    return head


def _published(line: Connection, head: _Head, tag: str, identity: str) -> str:
    """Return the tag's commit if it has this identity; refuse otherwise, because a tag is never moved."""
    commit = head.tags[tag]
    if _identity_at(line, commit) != identity:
        raise UserError(
            f"{line.place}: tag {tag}",
            got=f"a tag at commit {commit[:12]} with other data",
            expected="a new tag (a tag is never moved)",
            do="choose another --tag",
        )
    line.say(f"{line.place}: {tag} is this dataset: nothing to push")
    return commit


def _same_at_head(line: Connection, head: _Head, folder: Path, identity: str) -> str | None:
    """Return the head if it has this identity and the same data; its files may have been edited on the Hub."""
    if _identity_at(line, head.commit) != identity:
        return None
    data = [one for one in _additions(folder) if not one.path_in_repo.startswith(DESCRIBING)]
    if _differences(line, head.commit, data):
        return None
    line.say(f"{line.place}: the head is this dataset: no new commit")
    return head.commit


def _commit(line: Connection, head: _Head, folder: Path, message: str) -> str:
    """Upload the files that the Hub lacks, commit them together, and verify the commit."""
    from huggingface_hub import CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    additions = _additions(folder)
    paths = {one.path_in_repo for one in additions}
    there = {file.path for file in line.ask(lambda: _files(line, head.commit))}
    if MANIFEST not in there and (foreign := sorted(there - BLANK)):
        raise UserError(
            line.place,
            got=f"{len(foreign)} files that csrdata did not publish, the first {foreign[0]}",
            expected="an empty repository, or a release (its other files would be deleted)",
            do="choose another NAME",
        )
    gone = sorted(there - paths - HUBS_OWN)
    # Without this, a .gitignore in the repository would silently leave files out.
    line.api.preupload_lfs_files(
        line.repo_id, additions, repo_type=line.repo_type, free_memory=False, gitignore_content=""
    )
    operations: list[Any] = [*additions, *(CommitOperationDelete(path) for path in gone)]

    def send() -> str:
        now = str(line.api.repo_info(**line.here).sha)
        if now == head.commit:
            try:
                made = line.api.create_commit(
                    **line.here, operations=operations, commit_message=message, parent_commit=head.commit
                )
            except HfHubHTTPError as error:
                if error.response.status_code != 412:
                    raise
                now = str(line.api.repo_info(**line.here).sha)
            else:
                return str(made.oid)
        # The head has moved: by the try before this one, whose answer was lost, or by somebody else.
        if _differences(line, now, additions):
            raise UserError(
                line.place,
                got=f"a new commit by somebody else, {now[:12]}",
                expected=f"{head.commit[:12]} as it was before",
                do="look at it, then the same command again (nothing of yours was published)",
            )
        return now

    commit = line.ask(send)
    missing = _differences(line, commit, additions)
    if missing:
        line.state = f"commit {commit[:12]} is published without a tag"
        raise UserError(
            f"{line.place}: commit {commit[:12]}",
            got=f"{len(missing)} of {len(additions)} files are not as they were sent, the first {missing[0]}",
            expected="every file",
            do=f"the same command again ({line.state})",
        )
    return commit


def _tag(line: Connection, tag: str, commit: str) -> None:
    """Create the tag, and check that it points at the commit."""
    from huggingface_hub.errors import HfHubHTTPError

    def make() -> str | None:
        try:
            line.api.create_tag(**line.here, tag=tag, revision=commit)
        except HfHubHTTPError as error:
            # It is there: by a try whose answer was lost, or by somebody else.
            if error.response.status_code != 409:
                raise
        refs = line.api.list_repo_refs(**line.here)
        return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)

    found = line.ask(make)
    if found != commit:
        raise UserError(
            f"{line.place}: tag {tag}",
            got="no such tag" if found is None else f"a tag at commit {found[:12]}",
            expected=f"commit {commit[:12]} (a tag is never moved)",
            do="the same command again, with another --tag if this one is taken",
        )


def _additions(folder: Path) -> "list[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]


def _files(line: Connection, commit: str) -> list[Any]:
    from huggingface_hub.hf_api import RepoFile

    tree = line.api.list_repo_tree(**line.here, recursive=True, revision=commit)
    return [item for item in tree if isinstance(item, RepoFile)]


def _differences(line: Connection, commit: str, additions: "Sequence[CommitOperationAdd]") -> list[str]:
    """Return the paths that are missing from a commit or have other bytes there."""
    there = {file.path: file for file in line.ask(lambda: _files(line, commit))}
    return [one.path_in_repo for one in additions if not _is_same(one, there.get(one.path_in_repo))]


def _is_same(addition: "CommitOperationAdd", file: Any) -> bool:
    """Compare sizes, then hashes: an LFS file is known by its SHA-256, a regular one by git's SHA-1."""
    if file is None or file.size != addition.upload_info.size:
        return False
    if file.lfs is not None:
        return bool(file.lfs.sha256 == addition.upload_info.sha256.hex())
    with addition.as_file() as stream:
        data = stream.read()
    return bool(file.blob_id == _blob_id(data))


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _identity_at(line: Connection, commit: str) -> object:
    """Return the identity in a commit's manifest; None if it is missing or unreadable."""
    content = _manifest_at(line, commit)
    try:
        found = None if content is None else parse_json(content, place=MANIFEST, do=ELSEWHERE)
    except UserError:
        return None
    return found.get("identity") if isinstance(found, dict) else None


def _manifest_at(line: Connection, commit: str) -> bytes | None:
    """Return the manifest in a commit; None if there is none."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    url = hf_hub_url(**line.here, filename=MANIFEST, revision=commit, endpoint=line.api.endpoint)
    try:
        size = line.ask(lambda: get_hf_file_metadata(url, token=line.token or False)).size
    except RemoteEntryNotFoundError:
        return None
    if size is None or size > MANIFEST_BYTES:
        raise UserError(
            f"{line.place}: {MANIFEST}",
            got="no size" if size is None else f"{size:,} bytes",
            expected=f"at most {MANIFEST_BYTES:,}",
            do=ELSEWHERE,
        )
    with tempfile.TemporaryDirectory() as folder:
        path = hf_hub_download(
            **line.here,
            filename=MANIFEST,
            revision=commit,
            local_dir=folder,
            endpoint=line.api.endpoint,
            token=line.token or False,
        )
        return read_bounded(Path(path), limit=MANIFEST_BYTES, do=ELSEWHERE)


def _url(line: Connection, tag: str | None) -> str:
    prefix = "" if line.repo_type == "model" else f"{line.repo_type}s/"
    return f"{line.api.endpoint}/{prefix}{line.repo_id}" + (f"/tree/{tag}" if tag else "")
