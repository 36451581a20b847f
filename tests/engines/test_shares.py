"""Shares of one store: the bytes of a single run, whatever the order, and after a kill at any point."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from csrdata.engines.base import Worker
from csrdata.engines.local import LocalEngine
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import shard
from csrdata.records import Dropped
from csrdata.storage.shard_shares import Share, ShareStore
from csrdata.storage.tables import ShardStore
from tests.imports import ROOT

PLAN = shard("abcdefghijklm", 2)


def store(folder: Path, *, run: str = "a") -> ShardStore:
    return ShardStore(folder, Dropped, fingerprint={"run": run}, shards=len(PLAN))


def rows(made: Path, items: Sequence[str]) -> list[Dropped]:
    """Return one row per item, and note the shard."""
    with (made / str(os.getpid())).open("a", encoding="utf-8") as file:
        file.write(f"{items[0]}\n")
    return [Dropped(prompt_id=item, reason="no_response", detail=item * 3) for item in items]


def open_worker(made: Path, _number: int) -> Worker:
    return Worker(partial(rows, made))


def run(folder: Path, opening: object, share: Share | None = None) -> ShardStore:
    own = store(folder) if share is None else ShareStore(store(folder), share)
    log = RunLog(folder.parent / "log.jsonl")
    LocalEngine().run(own, PLAN, opening, title="t", unit="item", log=log)  # type: ignore[arg-type]
    return own


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


@pytest.fixture
def whole(tmp_path: Path, made: Path) -> dict[str, bytes]:
    """The folder of a single run."""
    run(tmp_path / "one", partial(open_worker, made))
    (made / str(os.getpid())).unlink()
    return files(tmp_path / "one")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def firsts(made: Path) -> list[str]:
    """Return the first item of each shard that was made."""
    return sorted("".join(path.read_text(encoding="utf-8") for path in made.iterdir()).split())


def test_a_share_is_every_nth_shard() -> None:
    """Each shard belongs to one share, whatever their number; a share may be empty."""
    assert Share(1, 3).numbers(8) == [1, 4, 7]
    for of in (1, 2, 3, 7, 9):
        assert sorted(n for part in range(of) for n in Share(part, of).numbers(7)) == list(range(7))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shares_in_any_order_write_what_one_process_writes(
    tmp_path: Path, made: Path, whole: dict[str, bytes], order: Sequence[int]
) -> None:
    """The last share leaves the folder of a single run, byte for byte: the manifest, no record; no shard is made twice."""
    for done, part in enumerate(order):
        own = run(tmp_path / "two", partial(open_worker, made), Share(part, 3))
        assert isinstance(own, ShareStore)
        left = [index for index in range(7) if index % 3 not in order[: done + 1]]
        assert own.waiting() == left
        assert (tmp_path / "two/manifest.json").exists() == (not left)
    assert files(tmp_path / "two") == whole
    assert firsts(made) == [items[0] for items in PLAN]


def test_the_stage_finishes_what_shares_have_left(
    tmp_path: Path, made: Path, whole: dict[str, bytes]
) -> None:
    """A run without a share keeps the shards of the shares, makes the others, and writes one manifest."""
    run(tmp_path / "two", partial(open_worker, made), Share(1, 2))
    assert (tmp_path / "two/00003.json").exists()
    run(tmp_path / "two", partial(open_worker, made))
    assert files(tmp_path / "two") == whole
    assert firsts(made) == [items[0] for items in PLAN]
    for share in (None, Share(0, 2), Share(1, 2)):  # nothing is missing: no worker opens
        run(tmp_path / "two", None, share)
    assert files(tmp_path / "two") == whole


def test_records_alone_are_a_complete_store(tmp_path: Path, made: Path, whole: dict[str, bytes]) -> None:
    """If the last share is killed before it writes the manifest, or before it removes the records, the next run does."""
    for part in range(2):
        run(tmp_path / "two", partial(open_worker, made), Share(part, 2))
    manifest = tmp_path / "two/manifest.json"
    writer = ShareStore(store(tmp_path / "two"), Share(0, 2))
    for index, listed in enumerate(writer.listed(writer.empty.names()).values()):
        writer.add(index, listed)
    assert (tmp_path / "two/00000.json").exists()
    run(tmp_path / "two", None)
    assert files(tmp_path / "two") == whole
    for index, listed in enumerate(writer.listed(writer.empty.names()).values()):
        writer.add(index, listed)
    manifest.unlink()
    run(tmp_path / "two", None)
    assert files(tmp_path / "two") == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "00002.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "00002.parquet").unlink(),
        lambda folder: (folder / "00002.json").write_bytes((folder / "00002.json").read_bytes()[:40]),
        lambda folder: (folder / "00002.json").write_bytes((folder / "00000.json").read_bytes()),
        lambda folder: (folder / "00002.json").write_text("[" * 10_000),
        lambda folder: ShareStore(store(folder, run="b"), Share(0, 2)).add(
            2, store(folder).listed(["00002.parquet"])["00002.parquet"]
        ),
    ],
    ids=["torn shard", "lost shard", "torn record", "another shard's record", "nested", "other inputs"],
)
def test_a_shard_without_a_true_record_is_made_again(
    tmp_path: Path, made: Path, whole: dict[str, bytes], damage: object
) -> None:
    """A damaged shard or record costs this shard alone; other processes' records are never believed for other inputs."""
    run(tmp_path / "two", partial(open_worker, made), Share(0, 2))
    damage(tmp_path / "two")  # type: ignore[operator]
    (made / str(os.getpid())).unlink()
    run(tmp_path / "two", partial(open_worker, made), Share(0, 2))
    assert firsts(made) == ["e"]
    run(tmp_path / "two", partial(open_worker, made), Share(1, 2))
    assert files(tmp_path / "two") == whole


def test_shards_of_other_inputs_are_replaced(tmp_path: Path, made: Path, whole: dict[str, bytes]) -> None:
    """Shares that find a finished store of other inputs make every shard again, and end with the new manifest."""
    log = RunLog(tmp_path / "log.jsonl")
    old = store(tmp_path / "two", run="old")
    LocalEngine().run(old, PLAN, partial(open_worker, made), title="t", unit="item", log=log)
    for part in range(2):
        run(tmp_path / "two", partial(open_worker, made), Share(part, 2))
    assert files(tmp_path / "two") == whole


KILLED = """
import os, signal, sys
from functools import partial
from pathlib import Path
from csrdata.storage import disk
from csrdata.storage.shard_shares import Share
from tests.engines.test_shares import open_worker, run
left = int(sys.argv[3])
def counted(name):
    real = getattr(os, name)
    def call(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)
    setattr(os, name, call)
for name in ("fsync", "replace", "rename", "unlink"):
    counted(name)
run(Path(sys.argv[1]), partial(open_worker, Path(sys.argv[2])), Share(int(sys.argv[4]), 2))
"""


def _share(folder: Path, made: Path, *, part: int, killed_at: int = 0) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-c", KILLED, str(folder), str(made), str(killed_at), str(part)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("killed_at", [1, 2, 5, 26, 30])
def test_a_killed_share_starts_again(
    tmp_path: Path, made: Path, whole: dict[str, bytes], killed_at: int
) -> None:
    """`kill -9` at a change of the disk: the same share goes on where it was, and the end has the bytes of a single run.

    A shard takes three changes and its record three more: 26 is the new manifest's rename, 30 the removal of a record.
    """
    run(tmp_path / "two", partial(open_worker, made), Share(1, 2))
    assert _share(tmp_path / "two", made, part=0, killed_at=killed_at).wait(60) == -signal.SIGKILL
    run(tmp_path / "two", partial(open_worker, made), Share(0, 2))
    assert files(tmp_path / "two") == whole


def test_shares_run_at_the_same_time(tmp_path: Path, made: Path, whole: dict[str, bytes]) -> None:
    """Two processes, one share each, write one folder together; a third that has a share twice changes nothing."""
    running = [_share(tmp_path / "two", made, part=part) for part in (0, 1, 1)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert files(tmp_path / "two") == whole
