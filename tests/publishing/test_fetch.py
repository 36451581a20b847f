"""Fetching a tagged dataset from a Hub on this machine, with the real client."""

import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from csrdata.errors import UserError
from csrdata.publishing.hub.fetch import Source, fetch, is_source, parse_size, parse_source
from csrdata.publishing.hub.pushing import push_folder
from csrdata.publishing.release.layout import PARAMS, PROMPTS, candidate_file, own_table, pair_file
from csrdata.publishing.release.manifest import Counts, File, Manifest, identity, write_manifest
from csrdata.storage.tables import hash_path
from tests.publishing.hub_server import online, serve
from tests.publishing.hub_state import TOKEN, Fault, Hub
from tests.publishing.project import MODELS, REPO
from tests.publishing.test_hub import CARD, contents

SET = REPO


def made_release(folder: Path, content: str) -> Path:
    """Write what a fetch needs to see of a release: a manifest that states every file; two pairs, a file each."""
    tables = {own_table("1", table): 2 for table in ("responses", "pairs")} | {own_table("1", "dropped"): 0}
    rows = {
        **{pair_file("1", index, 2): 1 for index in range(2)},
        candidate_file("1", 0, 1): 2,
        PROMPTS: 2,
        **tables,
    }
    data = {path: f"{content} {path} ".encode() * 50 for path in rows}
    for path, text in {**data, "README.md": CARD.encode(), PARAMS: b"seed: 1\n"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text)
    files = [
        File(path, (folder / path).stat().st_size, hash_path(folder / path), rows.get(path))
        for path in [*data, "README.md", PARAMS]
    ]
    manifest = Manifest(
        identity=identity(files, params={}, models=MODELS),
        repo_id=SET,
        tag="v1",
        date=None,
        images="embed",
        iterations=[Counts("1", prompts=2, candidates=2, responses=2, pairs=2, dropped={})],
        params={},
        models=list(MODELS),
        inputs={},
        csrdata="0.1.0",
        commit=None,
        changelog=[],
        files=files,
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture(params=[None, 300], ids=["regular", "lfs"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with two tags of a set."""
    online(monkeypatch, tmp_path)
    with serve(tmp_path / "hub", lfs_from=request.param) as made:
        push = partial(push_folder, repo_id=SET, message="A set", token=TOKEN, endpoint=made.url)
        push(made_release(tmp_path / "one", "one"), tag="v1")
        push(made_release(tmp_path / "two", "two"), tag="v2")
        yield made


@pytest.fixture
def bring(hub: Hub, tmp_path: Path) -> Callable[..., str]:
    """Fetch into `tmp_path/got`, without a token: the set is public."""
    return partial(fetch, SET, folder=tmp_path / "got", endpoint=hub.url, pauses=(0.0,), say=lambda _: None)


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.iterdir() if path.name.startswith("got")]


@pytest.mark.parametrize("text", ["me/set@v1.0", "hf://datasets/me/set@v1.0"])
def test_a_source_is_a_name_and_a_tag(text: str) -> None:
    """Both notations give the same source, and its text can be parsed again."""
    assert parse_source(text) == Source("me/set", "v1.0") == parse_source(str(parse_source(text)))


@pytest.mark.parametrize(
    "text", ["me/set", "set@v1", "me/set@", "hf://models/me/set@v1", "me/set@v1/README.md@x y"]
)
def test_what_is_no_source_is_refused(text: str) -> None:
    """A source needs owner, name and tag."""
    with pytest.raises(UserError, match="expected OWNER/NAME@TAG or hf://datasets/OWNER/NAME@TAG"):
        parse_source(text)


def test_only_the_scheme_makes_a_word_a_source() -> None:
    """An iteration, a git revision and a folder are not datasets on the Hub."""
    assert [is_source(text) for text in ("hf://datasets/me/set@v1", "1", "HEAD:1", "me/set")] == [
        True,
        False,
        False,
        False,
    ]


def test_a_tag_comes_back_byte_for_byte(hub: Hub, bring: Callable[..., str], tmp_path: Path) -> None:
    """The folder has every file of the tag, none of another tag, and none of the client's own files."""
    commit = bring(revision="v1")
    assert commit == hub.repo(SET).tags["v1"]
    assert contents(tmp_path / "got") == contents(tmp_path / "one")
    assert leftovers(tmp_path) == ["got"]


def test_a_full_folder_is_left_alone(hub: Hub, bring: Callable[..., str], tmp_path: Path) -> None:
    """Downloaded files are not mixed with existing ones."""
    (tmp_path / "got").mkdir()
    (tmp_path / "got/mine.txt").touch()
    with pytest.raises(UserError, match="got something is there, expected a new or empty folder"):
        bring(revision="v1")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"revision": "v3"}, r"revision: got v3, expected one of v1, v2. Next: csrdata pull me/set@v"),
        ({"revision": "v1", "token": "hf_stale"}, r"got 401 .*expected a token that the Hub accepts"),
    ],
)
def test_a_refusal_is_one_line(
    hub: Hub, bring: Callable[..., str], tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    """No such tag: those that are there are named. A stale token: how to get a new one."""
    with pytest.raises(UserError, match=message) as caught:
        bring(**settings)
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == []


def test_a_missing_and_a_private_set_look_alike(hub: Hub, bring: Callable[..., str], tmp_path: Path) -> None:
    """The Hub does not tell a missing dataset from a private one; the error names both solutions."""
    hub.repo(SET).private = True
    with pytest.raises(UserError, match=r"expected a dataset that exists, and a token that may read it"):
        bring(revision="v1")
    with pytest.raises(UserError, match=r"hub me/no: got 404 .*Next: check the name, or hf auth login"):
        fetch("me/no", "v1", tmp_path / "got", endpoint=hub.url, token=TOKEN)
    bring(revision="v1", token=TOKEN)
    assert contents(tmp_path / "got") == contents(tmp_path / "one")


def test_a_cut_download_goes_on(
    hub: Hub, bring: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut once: done in one run. Cut for good: nothing is there under the name, and the next run finishes it."""
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(
        "huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None, time=lambda: 0.0)
    )
    hub.faults = [Fault("BODY", "train-00000", after=500)]
    bring(revision="v1")
    assert contents(tmp_path / "got") == contents(tmp_path / "one")
    shutil.rmtree(tmp_path / "got")

    hub.faults = [Fault("BODY", "train-00000", after=0, times=99)]
    with pytest.raises(
        UserError, match=r"the files downloaded so far are kept in got.\w{12}.partial"
    ) as caught:
        bring(revision="v1")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "got").exists()
    hub.faults, hub.requests = [], []
    bring(revision="v1")
    assert contents(tmp_path / "got") == contents(tmp_path / "one")
    assert len(hub.asked("^GET .*train-0000")) == 1
    assert leftovers(tmp_path) == ["got"]


def test_other_bytes_than_the_manifests_are_refused(
    hub: Hub, bring: Callable[..., str], tmp_path: Path
) -> None:
    """The error names a file that is not what the manifest says; after it is repaired on the Hub, the same command works."""
    good = hub.repo(SET).head
    path = pair_file("1", 1, 2)
    garbled = (tmp_path / "two" / path).read_bytes()[::-1]
    lfs = hub.lfs_from is not None
    hub.commit(hub.repo(SET), "oops", {path: hub.store(garbled, lfs=lfs)})
    hub.repo(SET).tags["v3"] = hub.repo(SET).head.oid
    with pytest.raises(UserError, match=rf"v3: {path}: got other bytes .*expected .*SHA-256"):
        bring(revision="v3")
    assert leftovers(tmp_path) == []
    bring(revision=good.oid)
    assert contents(tmp_path / "got") == contents(tmp_path / "two")


def test_a_file_that_is_damaged_on_the_way_is_brought_again(
    hub: Hub, bring: Callable[..., str], tmp_path: Path
) -> None:
    """The Hub holds what the manifest says, other bytes came: that file is removed, and the next try brings it alone."""
    path = pair_file("1", 1, 2)
    there = hub.object(hash_path(tmp_path / "one" / path))
    whole = there.read_bytes()
    there.write_bytes(whole[::-1])
    with pytest.raises(UserError, match=r"got other bytes than the Hub holds.*Next: the same command again"):
        bring(revision="v1")
    there.write_bytes(whole)
    hub.requests.clear()
    bring(revision="v1")
    assert contents(tmp_path / "got") == contents(tmp_path / "one")
    assert len(hub.asked(r"^GET .*resolve.*parquet")) == 1


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50 * 10**9), ("1.5 mb", 1_500_000), ("700", 700), ("2kB", 2000), ("9b", 9)]
)
def test_a_size_has_decimal_units(text: str, size: int) -> None:
    """Sizes use decimal units."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1GB", "many", "1e9", "nan", "1GiB", "5 G B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """A malformed size is one line with an example."""
    with pytest.raises(UserError, match=r"--max-size: got .*, expected a size such as 50GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("settings", "bound", "message"),
    [
        ({"max_size": 1000}, 10_000, r"got .* GB in \d+ files, expected at most 1e-06 GB"),
        ({}, 3, r"got \d+ files or more, expected at most 3"),
    ],
)
def test_a_fetch_is_bounded_before_it_begins(
    *,
    hub: Hub,
    bring: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, int],
    bound: int,
    message: str,
) -> None:
    """Bytes and files are counted in the Hub's own list; no file but the manifest is asked for."""
    monkeypatch.setattr("csrdata.publishing.hub.fetch.MAX_FILES", bound)
    hub.requests.clear()
    with pytest.raises(UserError, match=message):
        bring(revision="v1", **settings)
    assert [path for path in hub.asked("^GET .*resolve") if "manifest" not in path] == []
    assert leftovers(tmp_path) == []


def test_a_set_that_csrdata_did_not_push_is_refused(
    hub: Hub, bring: Callable[..., str], tmp_path: Path
) -> None:
    """Without a manifest there is nothing to hold the files against, and nothing is kept."""
    hub.commit(hub.repo(SET), "foreign", {"provenance/manifest.json": None})
    with pytest.raises(
        UserError, match=r"got no provenance/manifest.json, expected a dataset pushed by csrdata"
    ):
        bring(revision=hub.repo(SET).head.oid)
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_one_line(hub: Hub, bring: Callable[..., str], tmp_path: Path) -> None:
    """No room for a file: nothing is there under the name, and with room the same command finishes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            UserError, match=r"got no room on the disk.*Next: make room, then the same command"
        ) as caught:
            bring(revision="v1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "got").exists()
    bring(revision="v1")
    assert contents(tmp_path / "got") == contents(tmp_path / "one")
