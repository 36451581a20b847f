"""What the tests' Hub holds: repositories of commits, contents by their SHA-256, and the faults that are planned for it."""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

TOKEN = "hf_" + "writes" * 6
READ_TOKEN = "hf_" + "readss" * 6
OWNER = "me"
"""The namespace that `TOKEN` may write to."""
ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
"""What a new repository of the Hub holds: its `.gitattributes`."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a commit; its content is stored under its SHA-256."""

    sha256: str
    git_oid: str
    size: int
    lfs: bool

    @property
    def oid(self) -> str:
        """What the Hub compares with: SHA-256 of an LFS file, git's SHA-1 of a regular one."""
        return self.sha256 if self.lfs else self.git_oid


@dataclass(frozen=True, slots=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    tree: dict[str, Blob]


@dataclass(slots=True)
class Repo:
    private: bool
    commits: list[Commit]
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        """Return the commit of a branch, a tag or an oid."""
        oid = self.head.oid if revision in ("main", "refs/heads/main") else self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == oid), None)


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` requests of this method whose path the pattern finds.

    `answer`: the request is not looked at, `status` and `headers` come back. `cut`: the connection breaks after `after`
    bytes of the request's body. `lose`: the request is done, its answer never arrives.
    """

    method: str
    pattern: str
    kind: Literal["answer", "cut", "lose"] = "answer"
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "as the test wanted"
    after: int = 0
    times: int = 1


class Hub:
    """The state of the server, and what it was asked."""

    def __init__(self, folder: Path, *, lfs_from: int | None = None) -> None:
        self.folder, self.lfs_from = folder, lfs_from
        self.url = ""
        self.token = TOKEN
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """`METHOD path`, in the order of arrival."""
        self.received = 0
        """Bytes of request bodies."""
        self.before: Callable[[str, str], None] | None = None
        """Called with method and path before a request is looked at: it simulates somebody else's change during a push."""
        self.lock = threading.RLock()
        (folder / "objects").mkdir(parents=True, exist_ok=True)

    def repo(self, repo_id: str, repo_type: str = "dataset") -> Repo:
        return self.repos[repo_type, repo_id]

    def content(self, blob: Blob) -> bytes:
        return self.object(blob.sha256).read_bytes()

    def object(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256

    def store(self, data: bytes, *, lfs: bool = False) -> Blob:
        sha256 = hashlib.sha256(data).hexdigest()
        self.object(sha256).write_bytes(data)
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return Blob(sha256, git, len(data), lfs)

    def commit(self, repo: Repo, title: str, changes: dict[str, Blob | None]) -> Commit:
        """Put a commit on top; a path of None is deleted."""
        tree = dict(repo.head.tree) if repo.commits else {}
        for path, blob in changes.items():
            if blob is None:
                del tree[path]
            else:
                tree[path] = blob
        parent = repo.head.oid if repo.commits else None
        facts = [parent, title, len(repo.commits), sorted((path, blob.oid) for path, blob in tree.items())]
        oid = hashlib.sha1(json.dumps(facts).encode(), usedforsecurity=False).hexdigest()
        commit = Commit(oid, parent, title, tree)
        repo.commits.append(commit)
        return commit

    def create(self, repo_id: str, repo_type: str = "dataset", *, private: bool = False) -> Repo:
        repo = self.repos[repo_type, repo_id] = Repo(private, [])
        self.commit(repo, "initial commit", {".gitattributes": self.store(ATTRIBUTES)})
        return repo

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None

    def asked(self, pattern: str) -> list[str]:
        """The requests that a pattern finds, as `METHOD path`."""
        return [request for request in self.requests if re.search(pattern, request)]


def listing(tree: dict[str, Blob], under: str) -> list[dict[str, Any]]:
    """Return the files and folders below a path, in the Hub's format."""
    folders = {
        str(parent)
        for path in tree
        for parent in Path(path).parents
        if str(parent) != "." and f"{parent}/" != under
    }
    items: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in folders
    ]
    for path, blob in tree.items():
        item = {"type": "file", "path": path, "oid": blob.git_oid, "size": blob.size}
        if blob.lfs:
            item["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
        items.append(item)
    return sorted((item for item in items if item["path"].startswith(under)), key=lambda item: item["path"])
