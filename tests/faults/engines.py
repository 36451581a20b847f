"""Random SIGKILLs of what an engine runs in: a worker, its driver, a Ray actor, a Ray node; each drawn from a seed and a number.

The workers are light (`tests/engines/ray_workers.py`); the engines, their stores and Ray are real. What must hold:

- a Ray actor or node that dies costs no result: the run ends with the bytes of a run without a fault;
- a local worker that dies ends the run with one line; what was finished stays, and nothing half-written is left;
- after any of them, killed drivers too, the next run ends with the same bytes.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from csrdata.engines.local import LocalEngine
from csrdata.engines.ray import RayEngine
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import shard
from csrdata.entry import leaving_in_words
from csrdata.records import Dropped
from csrdata.storage.disk import PARTIAL
from csrdata.storage.tables import ShardStore
from tests.engines.ray_workers import open_worker, pids
from tests.faults.killing import Defect, said
from tests.imports import ROOT

VICTIMS = ("a worker", "the driver", "a Ray actor", "the driver of Ray", "a Ray node")
WORKERS = 2
PLAN = shard("abcdefghijklmnopqrstuvwx", 2)
PAUSE = 0.1
"""Seconds that a shard takes."""
PATIENCE = 120
"""Seconds after which a run that does not end is a defect."""


@dataclass(frozen=True)
class EngineTrial:
    """One trial: seed and number say everything about it."""

    victim: str
    """One of `VICTIMS`."""
    delay: float
    """Seconds from the first shard to the SIGKILL."""
    which: random.Random
    """Decides between several victims of a kind."""

    @property
    def on_ray(self) -> bool:
        return "Ray" in self.victim


def draw(seed: int, number: int, *, victims: Sequence[str] = VICTIMS) -> EngineTrial:
    """Return trial `number` of a seed."""
    chance = random.Random(f"engines:{seed}:{number}")
    return EngineTrial(chance.choice(victims), chance.uniform(0, PAUSE * len(PLAN) / WORKERS), chance)


class Nodes:
    """A Ray cluster on this machine: a head without room for workers, and a node for each worker."""

    def __init__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # On a machine under load its processes can be too slow for its own limit; read when Ray is imported.
        os.environ.setdefault("RAY_raylet_start_wait_time_s", str(PATIENCE))
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_SMALL})
        self._nodes: list[Any] = []
        self.fill()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def fill(self) -> None:
        """Let nodes join until there is one for each worker."""
        while len(self._nodes) < WORKERS:
            self._nodes.append(self._cluster.add_node(num_cpus=1, **_SMALL))

    def kill(self, which: random.Random) -> None:
        """Kill all processes of a node at once."""
        node = self._nodes.pop(which.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        self._cluster.shutdown()


_SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@contextmanager
def cluster() -> Iterator[Nodes]:
    """Yield a Ray cluster, and end it."""
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.end()


def whole(folder: Path) -> dict[str, bytes]:
    """Return the files of a run without a fault."""
    folder.mkdir(parents=True)
    make(folder, address=None, workers=1)
    return files(folder)


def play(trial: EngineTrial, expected: Mapping[str, bytes], nodes: Nodes | None, folder: Path) -> str:
    """Play a trial in a new folder, and return how the run with the fault ended: `same bytes`, `one line` or `killed`.

    Raises:
        Defect: something that must hold did not.
    """
    folder.mkdir(parents=True)
    address = nodes.address if nodes and trial.on_ray else None
    with _started(folder, address) as driver:
        _wait_for(lambda: (folder / "calls").exists() or driver.poll() is not None)
        time.sleep(trial.delay)
        _strike(trial, driver, nodes, folder)
        try:
            _, text = driver.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Defect(f"it does not end: {trial}") from None
    lines = [line for line in said(text) if not line.startswith("t: ")]
    way = _way(driver.returncode, lines, trial)
    now = files(folder)
    shards = {name: content for name, content in now.items() if name.endswith(".parquet")}
    if way == "same bytes" and now != expected:
        raise Defect(f"exit code 0, and other bytes: {sorted(now)}")
    if any(expected.get(name) != content for name, content in shards.items()):
        raise Defect(f"a shard has other bytes: {sorted(shards)}")
    if way != "killed" and list(folder.rglob(f"*{PARTIAL}")):
        raise Defect("something half-written is left")
    if nodes:
        nodes.fill()
    (folder / "calls").unlink(missing_ok=True)
    with _started(folder, address) as driver:
        _, text = driver.communicate(timeout=PATIENCE)
    if driver.returncode or files(folder) != expected:
        raise Defect(f"the next run: {driver.returncode}, {text}")
    shutil.rmtree(folder)
    return way


def make(folder: Path, *, address: str | None, workers: int = WORKERS) -> None:
    """Make all shards that are missing, in this process's engine."""
    engine = RayEngine(workers, gpus=0, cpus=1, address=address) if address else LocalEngine(workers)
    engine.run(
        ShardStore(folder / "shards", Dropped, fingerprint={"run": "a"}, shards=len(PLAN)),
        PLAN,
        partial(open_worker, folder, pause=PAUSE),
        title="t",
        unit="item",
        log=RunLog(folder / "log.jsonl"),
    )


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file of the store."""
    found = sorted((folder / "shards").rglob("*"))
    return {path.name: path.read_bytes() for path in found if path.is_file()}


@contextmanager
def _started(folder: Path, address: str | None) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "tests.faults.engines", str(folder)]
    with subprocess.Popen(
        [*words, *(["--address", address] if address else [])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def _strike(trial: EngineTrial, driver: subprocess.Popen[str], nodes: Nodes | None, folder: Path) -> None:
    """Kill the victim; it may have ended already."""
    match trial.victim:
        case "the driver" | "the driver of Ray":
            driver.kill()
        case "a Ray node":
            assert nodes is not None
            nodes.kill(trial.which)
        case _:
            at_work = sorted(map(int, pids(folder) - {str(driver.pid)}))
            if at_work and driver.poll() is None:
                try:
                    os.kill(trial.which.choice(at_work), signal.SIGKILL)
                except ProcessLookupError:
                    return


def _way(code: int, lines: Sequence[str], trial: EngineTrial) -> str:
    """Return how the driver ended."""
    if code < 0 and "driver" in trial.victim:
        return "killed"
    if code == 0:
        return "same bytes"
    one = len(lines) == 1 and "Next: " in lines[0]
    if code < 0 or not one or trial.on_ray:
        raise Defect(f"exit code {code}: {list(lines)}")
    return "one line"


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address")
    given = parser.parse_args()
    with leaving_in_words("a stage", kept="; shards are kept"):
        make(given.folder, address=given.address)


if __name__ == "__main__":
    _main()
