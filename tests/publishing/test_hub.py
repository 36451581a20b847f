"""Pushing a folder with the real client to a Hub on this machine, and what is left when it goes wrong."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from csrdata.errors import UserError
from csrdata.publishing.hub.pushing import Pushed, published_manifest, push_folder
from tests.publishing.hub_server import online, serve
from tests.publishing.hub_state import READ_TOKEN, TOKEN, Fault, Hub

SET = "me/set"
CARD = "---\nlicense: apache-2.0\n---\n\n# A set\n"


def made_folder(folder: Path, content: str = "first", *, files: int = 2) -> Path:
    """Write what a push needs to see of a release: data files, a card, a manifest with an identity."""
    data = {
        f"iteration_1/train-{index:05d}.parquet": f"{content} {index} ".encode() * 200
        for index in range(files)
    }
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in {**data, "README.md": CARD.encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    listed = [
        {"path": name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        for name, text in sorted(data.items())
    ]
    identity = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    (folder / "provenance").mkdir()
    manifest = json.dumps({"format": 1, "identity": identity, "files": listed})
    (folder / "provenance/manifest.json").write_text(manifest, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(params=[None, 1000], ids=["regular", "lfs"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that takes data inside the commit, and one that takes it the LFS way."""
    online(monkeypatch, tmp_path)
    with serve(tmp_path / "hub", lfs_from=request.param) as made:
        yield made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def push(hub: Hub, said: list[str]) -> Callable[..., Pushed]:
    settings = {"repo_id": SET, "message": "A set", "token": TOKEN, "endpoint": hub.url, "say": said.append}
    return partial(push_folder, **settings, pauses=(0.0,))  # type: ignore[arg-type]


def at(hub: Hub, revision: str) -> dict[str, bytes]:
    commit = hub.repo(SET).at(revision)
    assert commit is not None
    return {path: hub.content(blob) for path, blob in commit.tree.items() if path != ".gitattributes"}


def test_a_push_is_one_commit_and_a_tag_at_it(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """A new repository gets all files, byte for byte, in one commit, and the tag points at that commit."""
    folder = made_folder(tmp_path / "a")
    pushed = push(folder, tag="v1")
    assert at(hub, "v1") == contents(folder)
    repo = hub.repo(SET)
    assert [commit.title for commit in repo.commits] == ["initial commit", "A set"]
    assert repo.tags == {"v1": repo.head.oid} == {"v1": pushed.commit}
    assert (pushed.committed, pushed.tagged, repo.private) == (True, True, False)
    assert pushed.url == f"{hub.url}/datasets/me/set/tree/v1"
    assert any(blob.lfs for blob in repo.head.tree.values()) == (hub.lfs_from is not None)


def test_what_the_folder_no_longer_has_is_deleted(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """The head is the folder, not a heap of all folders; the older tag keeps its files."""
    old = contents(made_folder(tmp_path / "a", "old", files=3))
    push(tmp_path / "a", tag="v1")
    push(made_folder(tmp_path / "b", "new", files=1), tag="v2")
    assert at(hub, "v1") == old
    assert at(hub, "v2") == contents(tmp_path / "b")
    assert ".gitattributes" in hub.repo(SET).head.tree


def test_the_same_identity_is_not_pushed_again(
    hub: Hub, push: Callable[..., Pushed], said: list[str], tmp_path: Path
) -> None:
    """A new card alone makes no commit, a new tag points to the old commit; nothing is written, and the output says so."""
    first = push(made_folder(tmp_path / "a"), tag="v1")
    (tmp_path / "a/README.md").write_text(CARD + "\nA new date.\n", encoding="utf-8")
    hub.requests.clear()
    again = push(tmp_path / "a", tag="v1")
    assert (again.commit, again.committed, again.tagged) == (first.commit, False, False)
    assert not hub.asked("^(POST|PUT)")
    assert "nothing to push" in said[-1]
    more = push(tmp_path / "a", tag="v2")
    assert (more.commit, more.committed, more.tagged) == (first.commit, False, True)
    assert hub.repo(SET).tags == {"v1": first.commit, "v2": first.commit}


def test_a_damaged_head_is_repaired(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """An equal identity is not enough: a data file that somebody deleted on the Hub is pushed again."""
    push(made_folder(tmp_path / "a"))
    hub.commit(hub.repo(SET), "oops", {"iteration_1/train-00000.parquet": None})
    assert push(tmp_path / "a", tag="v1").committed
    assert at(hub, "v1") == contents(tmp_path / "a")


def test_an_existing_tag_is_refused_before_anything_is_sent(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """Other data under an existing tag: the tag stays, and not one byte goes."""
    first = push(made_folder(tmp_path / "a"), tag="v1")
    hub.requests.clear()
    with pytest.raises(
        UserError, match=r"tag v1: got a tag at commit .* with other data.*Next: choose another --tag"
    ):
        push(made_folder(tmp_path / "b", "other"), tag="v1")
    assert not hub.asked("^(POST|PUT)")
    assert hub.repo(SET).tags == {"v1": first.commit}
    assert hub.repo(SET).head.oid == first.commit


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"token": "hf_stale"},
            r"got 401 .*expected a token that the Hub accepts.*Next: hf auth login, then the same",
        ),
        ({"token": READ_TOKEN}, r"got 403 .*expected a token that may write to me"),
        (
            {"token": TOKEN, "repo_id": "you/set"},
            r"hub you/set: got 403 .*expected a token that may write to you",
        ),
        ({"token": None}, r"got no token, expected one that may write. Next: hf auth login, or set HF_TOKEN"),
        ({"repo_id": "set"}, r"the repository: got set, expected OWNER/NAME"),
        ({"tag": "v 1"}, r"--tag: got v 1, expected a tag such as v1.0.0"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    """A refused or missing token, a foreign namespace, an invalid name: one line, and no repository is there."""
    with pytest.raises(UserError, match=message) as caught:
        push(made_folder(tmp_path / "a"), **settings)
    assert "\n" not in str(caught.value)
    assert hub.repos == {}


def test_a_repository_that_may_not_be_seen_is_not_made_anew(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """`--private` and a public repository: refused, for what was said to be private would be published."""
    hub.create(SET)
    with pytest.raises(UserError, match=r"--private: got a public repository, expected a private one"):
        push(made_folder(tmp_path / "a"), private=True)
    assert len(hub.repo(SET).commits) == 1


def test_private_is_private(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """A new repository is made as asked."""
    push(made_folder(tmp_path / "a"), private=True)
    assert hub.repo(SET).private


def test_the_token_is_nowhere(
    *,
    hub: Hub,
    push: Callable[..., Pushed],
    said: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in an error though the server echoes it, not in what is said or logged, and no folder with it is sent."""
    caplog.set_level(0)
    hub.faults = [Fault("POST", "/commit/", status=400, message=f"bad request by {TOKEN}")]
    with pytest.raises(UserError, match=r"400 .*hf_\*\*\*") as caught:
        push(made_folder(tmp_path / "a"), tag="v1")
    captured = capfd.readouterr()
    logged = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    for text in [str(caught.value), repr(caught.value), *said, captured.out, captured.err, *logged]:
        assert TOKEN not in text
    (tmp_path / "a/provenance/params.yaml").write_text(f"token: {TOKEN}\n", encoding="utf-8")
    hub.requests.clear()
    with pytest.raises(UserError, match=r"provenance/params.yaml: got your Hub token in it") as caught:
        push(tmp_path / "a", tag="v1")
    assert TOKEN not in str(caught.value)
    assert hub.requests == []


TROUBLE = {
    "preupload": Fault("POST", "/preupload/", status=403, message="no"),
    "card": Fault("POST", "/validate-yaml", status=500),
    "commit": Fault("POST", "/commit/", status=500),
    "commit cut": Fault("POST", "/commit/", kind="cut", after=500),
    "repository": Fault("POST", "/repos/create", status=500),
    "first look": Fault("GET", "/api/datasets/", status=503),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_failure_publishes_nothing_and_the_next_run_all(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path, name: str
) -> None:
    """Trouble for good, anywhere before the commit: one line, no half set, and the same command finishes the job."""
    fault = TROUBLE[name]
    hub.faults = [
        Fault(
            fault.method, fault.pattern, fault.kind, fault.status, message="no", after=fault.after, times=99
        )
    ]
    folder = made_folder(tmp_path / "a")
    with pytest.raises(UserError, match=r"the same command again \(") as caught:
        push(folder, tag="v1")
    assert "\n" not in str(caught.value)
    if hub.repos:
        assert len(hub.repo(SET).commits) == 1
        assert hub.repo(SET).tags == {}
    hub.faults = []
    assert push(folder, tag="v1").committed
    assert at(hub, "v1") == contents(folder)


@pytest.mark.parametrize("name", [name for name in TROUBLE if name != "preupload"])
def test_a_moment_of_trouble_is_passed_over(
    hub: Hub, push: Callable[..., Pushed], said: list[str], tmp_path: Path, name: str
) -> None:
    """Once a 5xx, or once a cut connection: it is said, tried again, and done."""
    fault = TROUBLE[name]
    hub.faults = [Fault(fault.method, fault.pattern, fault.kind, fault.status, after=fault.after)]
    folder = made_folder(tmp_path / "a")
    push(folder, tag="v1")
    assert at(hub, "v1") == contents(folder)
    assert any("trying again" in line for line in said)


def test_a_lost_answer_is_no_second_commit(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """If the responses to the commit and the tag are lost, the existing ones are recognised, not made twice."""
    hub.faults = [Fault("POST", "/commit/", kind="lose"), Fault("POST", "/tag/", kind="lose")]
    pushed = push(made_folder(tmp_path / "a"), tag="v1")
    assert len(hub.repo(SET).commits) == 2
    assert hub.repo(SET).tags == {"v1": pushed.commit}


def test_a_commit_without_its_tag_gets_just_the_tag(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """The line says what is published and what is missing; the same command makes the tag at that commit."""
    hub.faults = [Fault("POST", "/tag/", status=500, times=99)]
    with pytest.raises(UserError, match=r"the files are published as commit \w{12}, only the tag is missing"):
        push(made_folder(tmp_path / "a"), tag="v1")
    head = hub.repo(SET).head
    hub.faults = []
    hub.requests.clear()
    pushed = push(tmp_path / "a", tag="v1")
    assert (pushed.commit, pushed.committed, pushed.tagged) == (head.oid, False, True)
    assert hub.repo(SET).tags == {"v1": head.oid}
    assert not hub.asked("/commit/|/preupload/|^PUT")


def test_a_tag_that_somebody_else_makes_meanwhile_is_theirs(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """409 on the tag: it stays where it is, and the line says where that is."""
    hub.create(SET)
    first = hub.repo(SET).head.oid

    def race(method: str, path: str) -> None:
        if "/tag/" in path:
            hub.repo(SET).tags["v1"] = first

    hub.before = race
    with pytest.raises(UserError, match=rf"tag v1: got a tag at commit {first[:12]}, expected commit"):
        push(made_folder(tmp_path / "a"), tag="v1")
    assert hub.repo(SET).tags == {"v1": first}


def test_somebody_elses_commit_meanwhile_is_not_overwritten(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """The commit is refused by its parent, and the line says so; the next run goes on from there."""
    hub.create(SET)

    def race(method: str, path: str) -> None:
        if "/commit/" in path:
            hub.before = None
            hub.commit(hub.repo(SET), "theirs", {"README.md": hub.store(b"theirs")})

    hub.before = race
    with pytest.raises(
        UserError, match=r"got a new commit by somebody else.*none of your files was published"
    ):
        push(made_folder(tmp_path / "a"), tag="v1")
    assert hub.repo(SET).head.title == "theirs"
    assert push(tmp_path / "a", tag="v1").committed
    assert at(hub, "v1") == contents(tmp_path / "a")


def test_a_repository_of_something_else_is_left_alone(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path
) -> None:
    """A mistyped name costs nobody their files: what csrdata did not publish is not replaced."""
    hub.commit(hub.create(SET), "theirs", {"photos/1.png": hub.store(b"theirs")})
    with pytest.raises(UserError, match=r"got 1 files that csrdata did not publish, the first photos/1.png"):
        push(made_folder(tmp_path / "a"), tag="v1")
    assert (hub.repo(SET).head.title, hub.repo(SET).tags) == ("theirs", {})


def test_a_wrong_commit_gets_no_tag(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """The commit is checked before the tag is made: the error names a file that did not arrive."""
    store = hub.store
    hub.store = lambda data, **lfs: store(data if data.startswith(b"{") else b"garbled", **lfs)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"files differ from the sent ones, the first README.md"):
        push(made_folder(tmp_path / "a"), tag="v1")
    assert hub.repo(SET).tags == {}


def test_a_gitignore_there_hides_no_file(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """A repository that ignores Parquet files still gets them all."""
    repo = hub.create(SET)
    hub.commit(repo, "ignore", {".gitignore": hub.store(b"*.parquet\n")})
    push(made_folder(tmp_path / "a"), tag="v1")
    assert at(hub, "v1") == contents(tmp_path / "a")


@pytest.mark.parametrize("pattern", ["/api/datasets/me/set/refs$", "/preupload/", "/commit/", "/tag/"])
def test_too_many_requests_are_waited_for(
    *,
    hub: Hub,
    push: Callable[..., Pushed],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
) -> None:
    """429 with Retry-After, wherever: the time is waited, said, and the push goes on."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append)
    monkeypatch.setattr("csrdata.hub_client.time", clock)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    method = "GET" if pattern.endswith("refs$") else "POST"
    hub.faults = [Fault(method, pattern, status=429, headers={"Retry-After": "7"}, times=2)]
    push(made_folder(tmp_path / "a"), tag="v1")
    assert at(hub, "v1") == contents(tmp_path / "a")
    assert slept == [8.0, 8.0]
    assert said.count("hub me/set: too many requests (429), waiting 8 s as the Hub asks") == 2


@pytest.mark.parametrize("pattern", ["/preupload/", "/commit/"])
def test_no_wait_is_longer_than_the_patience(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path, pattern: str
) -> None:
    """An hour's Retry-After is an answer, not a wait."""
    hub.faults = [Fault("POST", pattern, status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(UserError, match=r"got 429, wait 3601 s, expected at most 300 s of waiting in all"):
        push(made_folder(tmp_path / "a"), tag="v1")


def test_the_manifest_there_can_be_read(hub: Hub, push: Callable[..., Pushed], tmp_path: Path) -> None:
    """The manifest is returned at a tag and at the head; None without a repository or a manifest."""
    read = partial(published_manifest, SET, token=TOKEN, endpoint=hub.url)
    assert read() is None
    hub.create(SET)
    assert read() is None
    push(made_folder(tmp_path / "a"), tag="v1")
    push(made_folder(tmp_path / "b", "other"))
    first, second = ((tmp_path / name / "provenance/manifest.json").read_bytes() for name in "ab")
    assert (read(revision="v1"), read()) == (first, second)


@pytest.mark.parametrize("hub", [1000], indirect=True, ids=["lfs"])
def test_an_upload_cut_in_the_middle_is_taken_up_again(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut once: done in one run. Cut for good: nothing is published, and the next run sends only what is missing."""
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    hub.faults = [Fault("PUT", "/lfs/", kind="cut", after=300)]
    push(made_folder(tmp_path / "a"), tag="v1")
    assert at(hub, "v1") == contents(tmp_path / "a")

    folder = made_folder(tmp_path / "b", "second")
    last = hashlib.sha256((folder / "iteration_1/train-00001.parquet").read_bytes()).hexdigest()
    hub.faults = [Fault("PUT", last, kind="cut", after=300, times=99)]
    with pytest.raises(UserError, match=r"expected a stable connection. Next: the same command again"):
        push(folder, tag="v2")
    assert len(hub.repo(SET).commits) == 2
    hub.faults = []
    hub.requests.clear()
    push(folder, tag="v2")
    assert at(hub, "v2") == contents(folder)
    assert hub.asked("^PUT") == [f"PUT /lfs/{last}"]


@pytest.mark.parametrize("hub", [None], indirect=True, ids=["regular"])
def test_offline_and_a_bad_card_are_one_line(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps a push from the Hub, or the Hub from a push, in one line each."""
    folder = made_folder(tmp_path / "a")
    (folder / "README.md").write_text("---\nlicense: {}\n---\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"Invalid metadata in README.md.*expected what the Hub accepts"):
        push(folder, tag="v1")
    assert len(hub.repo(SET).commits) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"expected a connection to the Hub. Next: unset HF_HUB_OFFLINE"):
        push(folder, tag="v1")
    with pytest.raises(UserError, match=r"manifest.json: got no identity, expected a release's manifest"):
        push(tmp_path, tag="v1")


def test_a_huge_manifest_there_is_not_read(
    hub: Hub, push: Callable[..., Pushed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is looked at first: what is larger than any manifest is one line, and not downloaded."""
    push(made_folder(tmp_path / "a"), tag="v1")
    monkeypatch.setattr("csrdata.publishing.hub.pushing.MANIFEST_BYTES", 100)
    hub.requests.clear()
    with pytest.raises(UserError, match=r"manifest.json: got \d+ bytes, expected at most 100"):
        published_manifest(SET, token=TOKEN, endpoint=hub.url)
    assert not hub.asked("^GET .*manifest.json")
