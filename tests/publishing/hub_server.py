"""A small Hub on this machine: it speaks the protocol that `huggingface_hub` and `datasets` speak, and fails on demand.

Repositories are commits in memory (a commit is its whole tree of paths), contents are files named by their SHA-256 in a
folder. Files of `lfs_from` bytes and more go the LFS way, the others inside the commit. A `Fault` turns the next requests
that match it into an error, a cut connection or an answer that is lost. What is left out: Xet, pull requests, branches.

    with serve(tmp_path) as hub:
        HfApi(endpoint=hub.url, token=hub.token).create_repo("me/set", repo_type="dataset")
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from tests.publishing.hub_state import OWNER, READ_TOKEN, Blob, Commit, Hub, Repo, listing

PREFIXES = {"datasets/": "dataset", "spaces/": "space"}
CHUNK = 1 << 16


@contextlib.contextmanager
def serve(folder: Path, *, lfs_from: int | None = None) -> Iterator[Hub]:
    """Run a Hub on a free port of this machine until the block ends."""
    hub = Hub(folder, lfs_from=lfs_from)
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Refused(Exception):
    """An answer other than 200, with the Hub's code for it."""

    def __init__(self, status: int, message: str, *, code: str | None = None, **body: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


class Cut(Exception):
    """Raised to cut the connection."""


REPO = r"(?P<type>datasets|models|spaces)/(?P<id>[^/]+/[^/]+)"
API = [
    ("POST", r"^/api/repos/create$", "create"),
    ("POST", r"^/api/validate-yaml$", "validate"),
    ("POST", rf"^/api/{REPO}/preupload/(?P<rev>.+)$", "preupload"),
    ("POST", rf"^/api/{REPO}/commit/(?P<rev>.+)$", "add_commit"),
    ("POST", rf"^/api/{REPO}/tag/(?P<rev>.+)$", "add_tag"),
    ("POST", rf"^/api/{REPO}/paths-info/(?P<rev>[^/]+)$", "paths_info"),
    ("GET", rf"^/api/{REPO}/refs$", "refs"),
    ("GET", rf"^/api/{REPO}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?$", "tree"),
    ("GET", rf"^/api/{REPO}(?:/revision/(?P<rev>[^/]+))?$", "info"),
    (
        "POST",
        r"^/(?P<prefix>datasets/|spaces/|)(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch$",
        "lfs_batch",
    ),
    ("PUT", r"^/lfs/(?P<oid>[0-9a-f]{64})$", "lfs_put"),
    ("POST", r"^/lfs/verify$", "lfs_verify"),
]
FILE = re.compile(r"^/(?P<prefix>datasets/|spaces/|)(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)$")


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection: finds the endpoint, reads the body, answers."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the requests are in `Hub.requests`."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        url = urlsplit(self.path)
        path, self.query = url.path, parse_qs(url.query)
        hub = self.hub
        with hub.lock:
            hub.requests.append(f"{method} {unquote(path)}")
        if hub.before is not None:
            hub.before(method, unquote(path))
        fault = hub.fault_for(method, unquote(path))
        try:
            if fault is not None and fault.kind == "cut":
                self._read(fault.after)
                raise Cut  # noqa: TRY301 - all ways to break off meet below
            if fault is not None and fault.kind == "answer":
                self._drain()
                self._answer(fault.status, {"error": fault.message}, fault.headers)
                return
            if method in ("GET", "HEAD") and (found := FILE.match(path)):
                self._file(method, found)
                return
            status, answer = self._dispatch(method, path)
            if fault is not None:
                raise Cut  # noqa: TRY301 - the same
            self._answer(status, answer)
        except Refused as refused:
            self._drain()
            headers = {"X-Error-Message": refused.message} | (
                {"X-Error-Code": refused.code} if refused.code else {}
            )
            self._answer(refused.status, {"error": refused.message, **refused.body}, headers)
        except (Cut, ConnectionError, BrokenPipeError):
            # A reset, not a polite end: what a pulled cable and a dying proxy look like.
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def _dispatch(self, method: str, path: str) -> tuple[int, Any]:
        for verb, pattern, name in API:
            found = re.match(pattern, path)
            if verb == method and found:
                parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                if name == "lfs_put":
                    return self._lfs_put(**parts)
                body = self._body()
                with self.hub.lock:
                    answer: tuple[int, Any] = getattr(self, f"_{name}")(body, **parts)
                    return answer
        raise Refused(404, f"no such endpoint: {method} {path}")

    # Bodies and answers.

    def _pieces(self) -> Iterator[bytes]:
        """Read the request's body piece by piece, whichever way its length is told."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                piece = self.rfile.read(min(left, CHUNK))
                if not piece:
                    raise Cut
                left -= len(piece)
                yield piece

    def _body(self) -> bytes:
        body = b"".join(self._pieces())
        self._drained = True
        self.hub.received += len(body)
        return body

    def _read(self, size: int) -> None:
        got = 0
        pieces = self._pieces()
        while got < size:
            got += len(next(pieces, b"") or b"x" * size)

    def _drain(self) -> None:
        """Read what is left of the body, or the connection cannot be used again."""
        if not getattr(self, "_drained", False):
            for _ in self._pieces():
                pass
        self._drained = True

    def parse_request(self) -> bool:
        self._drained = False
        return super().parse_request()

    def _answer(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # Who may do what.

    def _who(self) -> str | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given not in (self.hub.token, READ_TOKEN):
            raise Refused(401, "Invalid credentials in Authorization header")
        return given or None

    def _may_write(self, owner: str) -> None:
        who = self._who()
        if who is None:
            raise Refused(401, "Invalid username or password.")
        if who == READ_TOKEN or owner != OWNER:
            raise Refused(403, f"You don't have the rights to write under the namespace {owner!r}")

    def _repo(self, repo_id: str, repo_type: str) -> Repo:
        who = self._who()
        repo = self.hub.repos.get((repo_type, repo_id))
        if repo is None or (repo.private and who is None):
            # The Hub does not tell missing from private, and asks an anonymous user to log in.
            raise Refused(404 if who else 401, "Repository not found", code="RepoNotFound")
        return repo

    @staticmethod
    def _commit_at(repo: Repo, revision: str) -> Commit:
        commit = repo.at(revision)
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return commit

    # Writing.

    def _create(self, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        owner = asked.get("organization") or OWNER
        self._may_write(owner)
        repo_id, repo_type = f"{owner}/{asked['name']}", asked.get("type", "model")
        prefix = "" if repo_type == "model" else f"{repo_type}s/"
        url = f"{self.hub.url}/{prefix}{repo_id}"
        if (repo_type, repo_id) in self.hub.repos:
            raise Refused(409, f"You already created this {repo_type} repo", url=url)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.create(repo_id, repo_type, private=private)
        return 200, {"url": url, "name": repo_id}

    @staticmethod
    def _validate(body: bytes) -> tuple[int, Any]:
        content = json.loads(body)["content"]
        head = re.match(r"^---\n(.*?)\n---\n", content, re.DOTALL)
        errors = []
        if head:
            try:
                data = yaml.safe_load(head.group(1))
                if not isinstance(data, dict):
                    errors.append({"message": '"metadata" must be an object'})
                elif not isinstance(data.get("license", ""), str | list):
                    errors.append({"message": '"license" must be one of the known licences'})
            except yaml.YAMLError as error:
                errors.append({"message": str(error)})
        return (400 if errors else 200), {"errors": errors, "warnings": []}

    def _preupload(self, body: bytes, *, type: str, id: str, rev: str) -> tuple[int, Any]:  # noqa: A002
        self._may_write(id.split("/", maxsplit=1)[0])
        tree = self._commit_at(self._repo(id, type[:-1]), rev).tree
        asked = json.loads(body)
        ignored = asked.get("gitIgnore")
        if ignored is None:
            ignored = self.hub.content(tree[".gitignore"]).decode() if ".gitignore" in tree else ""
        threshold = self.hub.lfs_from
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if threshold is not None and file["size"] >= threshold else "regular",
                "shouldIgnore": any(Path(file["path"]).match(line) for line in ignored.split()),
                "oid": tree[file["path"]].oid if file["path"] in tree else None,
            }
            for file in asked["files"]
        ]
        return 200, {"files": files}

    def _add_commit(self, body: bytes, *, type: str, id: str, rev: str) -> tuple[int, Any]:  # noqa: A002
        self._may_write(id.split("/", maxsplit=1)[0])
        repo = self._repo(id, type[:-1])
        lines = [json.loads(line) for line in body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        parent = header.get("parentCommit")
        if parent is not None and parent != repo.head.oid:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, Blob | None] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = self.hub.store(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if not self.hub.object(value["oid"]).is_file():
                    raise Refused(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                changes[value["path"]] = Blob(value["oid"], "0" * 40, value["size"], lfs=True)
            elif line["key"] == "deletedFile":
                if value["path"] not in repo.head.tree:
                    raise Refused(404, "A file with this name doesn't exist", code="EntryNotFound")
                changes[value["path"]] = None
        commit = self.hub.commit(repo, header["summary"], changes)
        return 200, {
            "success": True,
            "commitOid": commit.oid,
            "commitUrl": f"{self.hub.url}/{id}/commit/{commit.oid}",
        }

    def _add_tag(self, body: bytes, *, type: str, id: str, rev: str) -> tuple[int, Any]:  # noqa: A002
        self._may_write(id.split("/", maxsplit=1)[0])
        repo = self._repo(id, type[:-1])
        tag, commit = json.loads(body)["tag"], self._commit_at(repo, rev)
        if tag in repo.tags:
            raise Refused(409, f"Tag {tag} already exists")
        repo.tags[tag] = commit.oid
        return 200, {}

    def _lfs_batch(self, body: bytes, *, prefix: str, id: str) -> tuple[int, Any]:  # noqa: A002
        self._may_write(id.split("/", maxsplit=1)[0])
        self._repo(id, PREFIXES.get(prefix, "model"))
        objects = []
        for one in json.loads(body)["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}},
                "verify": {"href": f"{self.hub.url}/lfs/verify", "header": {}},
            }
            there = self.hub.object(one["oid"]).is_file()
            objects.append(one if there else {**one, "actions": actions})
        return 200, {"transfer": "basic", "objects": objects}

    def _lfs_put(self, *, oid: str) -> tuple[int, Any]:
        partial = self.hub.folder / f"{oid}.{threading.get_ident()}"
        digest = hashlib.sha256()
        try:
            with partial.open("wb") as file:
                for piece in self._pieces():
                    digest.update(piece)
                    file.write(piece)
                    self.hub.received += len(piece)
            self._drained = True
            if digest.hexdigest() != oid:
                raise Refused(400, "The content does not match its SHA-256")
            partial.replace(self.hub.object(oid))
        finally:
            partial.unlink(missing_ok=True)
        return 200, {}

    def _lfs_verify(self, body: bytes) -> tuple[int, Any]:
        if not self.hub.object(json.loads(body)["oid"]).is_file():
            raise Refused(404, "no such object")
        return 200, {}

    # Reading.

    def _info(self, body: bytes, *, type: str, id: str, rev: str = "main") -> tuple[int, Any]:  # noqa: A002
        repo = self._repo(id, type[:-1])
        commit = self._commit_at(repo, rev)
        siblings = [{"rfilename": path, "size": blob.size} for path, blob in sorted(commit.tree.items())]
        return 200, {
            "_id": id,
            "id": id,
            "modelId": id,
            "sha": commit.oid,
            "private": repo.private,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }

    def _refs(self, body: bytes, *, type: str, id: str) -> tuple[int, Any]:  # noqa: A002
        repo = self._repo(id, type[:-1])
        branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.oid}]
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repo.tags.items()
        ]
        return 200, {"branches": branches, "converts": [], "tags": tags}

    def _tree(self, body: bytes, *, type: str, id: str, rev: str, path: str = "") -> tuple[int, Any]:  # noqa: A002
        tree = self._commit_at(self._repo(id, type[:-1]), rev).tree
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        under = f"{path}/" if path else ""
        if under and not any(name.startswith(under) for name in tree):
            raise Refused(404, f"{path} does not exist on {rev}", code="EntryNotFound")
        found = listing(tree, under)
        return 200, [item for item in found if recursive or "/" not in item["path"][len(under) :]]

    def _paths_info(self, body: bytes, *, type: str, id: str, rev: str) -> tuple[int, Any]:  # noqa: A002
        tree = self._commit_at(self._repo(id, type[:-1]), rev).tree
        as_json = "json" in self.headers.get("Content-Type", "")
        wanted = json.loads(body)["paths"] if as_json else parse_qs(body.decode())["paths"]
        return 200, [item for item in listing(tree, "") if item["path"] in wanted]

    def _file(self, method: str, found: re.Match[str]) -> None:
        parts = {key: unquote(value) for key, value in found.groupdict().items()}
        with self.hub.lock:
            repo = self._repo(parts["id"], PREFIXES.get(parts["prefix"], "model"))
            commit = self._commit_at(repo, parts["rev"])
            blob = commit.tree.get(parts["path"])
        if blob is None:
            raise Refused(404, "Entry not found", code="EntryNotFound")
        first, last, status = 0, blob.size - 1, 200
        if wanted := re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", "")):
            first, last, status = int(wanted[1]), min(int(wanted[2] or last), last), 206
        self.send_response(status)
        self.send_header("X-Repo-Commit", commit.oid)
        self.send_header("ETag", f'"{blob.oid}"')
        if blob.lfs:
            self.send_header("X-Linked-ETag", f'"{blob.sha256}"')
            self.send_header("X-Linked-Size", str(blob.size))
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{blob.size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if method == "GET":
            fault = self.hub.fault_for("BODY", self.requestline.split()[1])
            with self.hub.object(blob.sha256).open("rb") as file:
                file.seek(first)
                left = last - first + 1 if fault is None else fault.after
                while left > 0 and (piece := file.read(min(left, CHUNK))):
                    self.wfile.write(piece)
                    left -= len(piece)
            if fault is not None:
                raise Cut


def online(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process's client reach a server on this machine: not offline, no Xet, no token or cache of the user's."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)


def environment(hub: Hub, home: Path, *, token: str | None = None) -> dict[str, str]:
    """Return the variables with which another process's client reaches this Hub, with a separate cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return kept | own | ({"HF_TOKEN": token} if token else {})
