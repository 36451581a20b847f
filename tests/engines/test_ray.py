"""The Ray engine: the bytes of the local engine with any number of actors, and a dead actor costs its shard alone."""

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from csrdata import paths
from csrdata.engines.local import LocalEngine
from csrdata.engines.ray import Actor, RayEngine, connect
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import shard
from csrdata.errors import UserError
from csrdata.pipeline import generate_beams
from csrdata.records import Dropped
from csrdata.storage.tables import ShardStore
from tests.engines.ray_workers import calls, die, open_buggy, open_full, open_refusing, open_worker, pids
from tests.pipeline.test_shards import RAY, make_project, small_search

PLAN = shard("abcdefghijklm", 2)


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[Any]:
    """Ray on this machine with 4 CPUs, whatever the machine has; the engine uses it, as it would a cluster."""
    import ray

    if not ray.is_initialized():
        connect(None, num_cpus=4, log_to_driver=False)
    yield ray
    ray.shutdown()


def run(folder: Path, opening: object, *, workers: int, patience: float = 300, cpus: int = 1) -> None:
    RayEngine(workers, gpus=0, cpus=cpus, patience=patience).run(
        ShardStore(folder, Dropped, fingerprint={"run": "a"}, shards=len(PLAN)),
        PLAN,
        opening,  # type: ignore[arg-type]
        title="t",
        unit="item",
        log=RunLog(folder.parent / "log.jsonl"),
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The folder that the local engine writes."""
    (tmp_path / "local").mkdir()
    LocalEngine().run(
        ShardStore(tmp_path / "one", Dropped, fingerprint={"run": "a"}, shards=len(PLAN)),
        PLAN,
        partial(open_worker, tmp_path / "local"),
        title="t",
        unit="item",
        log=RunLog(tmp_path / "log.jsonl"),
    )
    return files(tmp_path / "one")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_actors_write_what_the_local_engine_writes(
    tmp_path: Path, whole: dict[str, bytes], workers: int
) -> None:
    """1, 2 and 4 actors leave the same folder, byte for byte; each has a process, and none makes a shard twice."""
    run(tmp_path / "ray", partial(open_worker, tmp_path, meets=workers), workers=workers)
    assert files(tmp_path / "ray") == whole
    assert sorted(calls(tmp_path)) == [items[0] for items in PLAN]
    assert len(pids(tmp_path)) == workers
    assert str(os.getpid()) not in pids(tmp_path)
    run(tmp_path / "ray", None, workers=workers)  # nothing is missing: no worker opens


def test_actors_search_what_one_process_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`engine.kind: ray` with the real policy and scorer writes the bytes of the local engine."""
    monkeypatch.chdir(tmp_path)
    make_project()
    for engine in ({"kind": "local", "workers": 1}, RAY):
        generate_beams.run(small_search(**engine), "1")
        paths.candidates("1").rename(str(engine["kind"]))
    assert files(Path("local")) == files(Path("ray"))
    assert len(files(Path("ray"))) == 4


def test_a_killed_actor_costs_its_shard_alone(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """An actor is killed at a shard: another one makes this shard, the others are made once, the bytes are the same."""
    opening = partial(open_worker, tmp_path, dies="g", times=1, meets=2)
    run(tmp_path / "ray", opening, workers=2)
    assert files(tmp_path / "ray") == whole
    assert sorted(calls(tmp_path)) == sorted([*(items[0] for items in PLAN), "g"])
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8").count('"lost", ') == 1


def test_a_shard_that_kills_every_actor_is_named(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """After three actors the run ends with one line that names the shard; the next run keeps what was finished."""
    with pytest.raises(UserError, match=r"^shard 3: got 3 workers that died while they made it"):
        run(tmp_path / "ray", partial(open_worker, tmp_path, dies="g", times=9), workers=1)
    assert calls(tmp_path).count("g") == 3
    kept = [name for name in files(tmp_path / "ray") if name.endswith(".parquet")]
    assert kept == ["00000.parquet", "00001.parquet", "00002.parquet"]
    run(tmp_path / "ray", partial(open_worker, tmp_path), workers=1)
    assert files(tmp_path / "ray") == whole
    assert calls(tmp_path).count("a") == 1


@pytest.mark.parametrize(
    ("opening", "error", "words"),
    [
        (open_refusing, UserError, r"^image \w: got no file, expected an image. Next: mend it$"),
        (open_buggy, ZeroDivisionError, "division by zero"),
        (die, UserError, r"^params.yaml: engine: got 3 workers in a row that died while they loaded"),
    ],
)
def test_an_error_of_a_worker_is_the_callers(
    tmp_path: Path, opening: object, error: type[Exception], words: str
) -> None:
    """A user's mistake is one line, a bug keeps its traceback, and a worker that never loads ends the run."""
    with pytest.raises(error, match=words):
        run(tmp_path / "ray", opening, workers=1)


def test_an_actor_returns_what_is_no_bug(tmp_path: Path) -> None:
    """A user's mistake, a full disk and a folder that a node lacks are values, which keep their kind on the way."""
    store = ShardStore(tmp_path / "ray", Dropped, fingerprint={}, shards=0)
    for opening, kind in ((open_refusing, UserError), (open_full, OSError)):
        actor = Actor((opening, store), 0, str(tmp_path))
        assert actor.open() is None
        assert isinstance(actor.make(0, ["a"]), kind)
    error = Actor((open_full, store), 0, str(tmp_path / "elsewhere")).enter()
    assert isinstance(error, UserError)
    assert error.expected == "the project's folder at the same path on every node"


def test_no_room_in_the_cluster_is_one_line(tmp_path: Path) -> None:
    """If no node can take a worker, the run ends after its patience, and says what the cluster has."""
    expected = r"^params.yaml: engine: got no worker after 1.5 s; the cluster has 4 CPUs and 0 GPUs, expected 64 CPUs"
    with pytest.raises(UserError, match=expected):
        run(tmp_path / "ray", partial(open_worker, tmp_path), workers=2, cpus=64, patience=1.5)


def test_workers_start_as_room_appears(tmp_path: Path, whole: dict[str, bytes], ray: Any) -> None:
    """More workers than fit wait for room, and start when there is some while the engine runs."""

    @ray.remote(num_cpus=3)
    class Guest:
        def stay(self) -> None:
            time.sleep(600)

    guest = Guest.remote()
    stays = guest.stay.remote()
    ray.wait([stays], timeout=0.5)

    # The guest leaves when the first shard is listed.
    class Store(ShardStore):
        def add(self, index: int, written: Any) -> None:
            if index == 0:
                ray.kill(guest)
            super().add(index, written)

    RayEngine(2, gpus=0, cpus=1, patience=300).run(
        Store(tmp_path / "ray", Dropped, fingerprint={"run": "a"}, shards=len(PLAN)),
        PLAN,
        partial(open_worker, tmp_path, meets=2),
        title="t",
        unit="item",
        log=RunLog(tmp_path / "log.jsonl"),
    )
    assert files(tmp_path / "ray") == whole
    assert len(pids(tmp_path)) == 2
