"""The Ray engine: it computes the missing shards of a store in actors on the nodes of a Ray cluster, or on this machine.

An actor is the same worker as that of the local engine. It writes its shard to the shared folder; through Ray goes only
which shard, and how long it took. Actors start as nodes have room, also while the engine runs. An actor that dies with its
process or its node costs the shard that it was making: another actor makes it, up to `TRIES` times. Every node needs the
project's folder at the same path, and the same installed packages.
"""

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrdata.engines.base import OpenWorker, Shard, ShardResult, Worker
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import collect, make_shard
from csrdata.errors import UserError
from csrdata.storage.tables import ShardStore

TRIES = 3
"""How often a shard is given to an actor before the run ends with an error that names the shard."""
POLL = 1.0
"""Seconds between two looks at whether any actor runs."""


@dataclass(frozen=True)
class RayEngine:
    """An `Engine` on a Ray cluster."""

    workers: int
    """The most actors at the same time, 1 or more."""
    gpus: float
    """GPUs that each actor reserves: 0, a share of one such as 0.5, or a whole number."""
    cpus: int
    """CPU cores that each actor reserves, 1 or more."""
    address: str | None = None
    """`HOST:PORT` or `auto` for a running cluster; None starts Ray on this machine."""
    patience: float = 600.0
    """Seconds without any actor that runs, after which the run ends with an error, > 0."""

    def run(
        self,
        store: ShardStore,
        plan: Sequence[Sequence[Any]],
        open_worker: OpenWorker,
        *,
        title: str,
        unit: str,
        log: RunLog,
    ) -> None:
        """Compute and write the shards that are missing from a store; see `csrdata.engines.base.Engine`."""
        shards = [(index, plan[index]) for index in store.missing()]
        collect(
            self._in_actors(store, shards, open_worker, log) if shards else (),
            store=store,
            plan=plan,
            missing=shards,
            workers=min(self.workers, len(shards)),
            title=title,
            unit=unit,
            log=log,
        )

    def _in_actors(
        self, store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker, log: RunLog
    ) -> Iterator[ShardResult]:
        with _connected(self.address) as ray:
            # Without its manifest, which may be long: an actor only writes.
            writer = ShardStore(store.folder, store.record, fingerprint={}, shards=0)
            fleet = _Fleet(ray, self, opening=ray.put((open_worker, writer)), waiting=deque(shards), log=log)
            try:
                yield from fleet.results()
            finally:
                fleet.end()


class Actor:
    """A worker in a separate process. An error that is not a bug is returned, because Ray would wrap an exception."""

    def __init__(self, opening: tuple[OpenWorker, ShardStore], number: int, folder: str) -> None:
        self.open_worker, self.store = opening
        self.number, self.folder = number, folder
        self.worker: Worker | None = None

    def enter(self) -> Exception | None:
        """Go to the project's folder."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            return UserError(
                self.folder,
                got=f"{error.strerror} on {os.uname().nodename}",
                expected="the project's folder at the same path on every node",
                do="put it on a shared disk, then: dvc repro",
            )
        return None

    def open(self) -> Exception | None:
        """Load what the worker needs."""
        try:
            self.worker = self.open_worker(self.number)
        except (UserError, OSError, ImportError) as error:
            return error
        return None

    def make(self, index: int, items: Sequence[Any]) -> ShardResult | Exception:
        """Compute and write a shard."""
        assert self.worker is not None  # noqa: S101 - `open` set it
        try:
            return make_shard(self.worker, self.store, index, items)
        except (UserError, OSError) as error:
            return error


@dataclass
class _Call:
    """A call of an actor that has not returned: of `make` if it has a shard, else of `enter` or `open`."""

    actor: Any
    shard: Shard | None = None
    is_open: bool = False
    """Whether it is a call of `open`."""


@dataclass
class _Fleet:
    """The actors of a run, and the shards that wait for one."""

    ray: Any
    engine: RayEngine
    opening: Any
    """A reference to the function that opens a worker, and to the store."""
    waiting: deque[Shard]
    log: RunLog
    calls: dict[Any, _Call] = field(default_factory=dict)
    """What each actor at work does, by the reference to its result."""
    idle: list[Any] = field(default_factory=list)
    """Actors that are open and have no shard."""
    running: set[Any] = field(default_factory=set)
    """Actors that have a process."""
    started: int = 0
    tries: Counter[int] = field(default_factory=Counter)
    """How many actors died with each shard."""
    failed: int = 0
    """How many actors in a row died before they were open."""

    def results(self) -> Iterator[ShardResult]:
        """Yield the shards as they are finished.

        Raises:
            UserError: a worker raised it, a shard took `TRIES` actors with it, or no actor runs for `patience` seconds.
        """
        unfinished, alone_since = len(self.waiting), time.monotonic()
        for _ in range(min(self.engine.workers, unfinished)):
            self._start()
        while unfinished:
            ready, _ = self.ray.wait(list(self.calls), num_returns=1, timeout=POLL)
            for ref in ready:
                result = self._take(ref)
                if result is not None:
                    unfinished -= 1
                    yield result
            self._give()
            if self.running:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > self.engine.patience:
                raise self._no_room()

    def end(self) -> None:
        """End all actors, also those that wait for room."""
        for actor in [*(call.actor for call in self.calls.values()), *self.idle]:
            self.ray.kill(actor)

    def _start(self) -> None:
        """Ask for one more actor; it starts when a node has room."""
        options = {"num_cpus": self.engine.cpus, "num_gpus": self.engine.gpus, "max_restarts": 0}
        made = self.ray.remote(**options)(Actor)
        actor = made.remote(self.opening, self.started, str(Path.cwd()))
        self.started += 1
        self.calls[actor.enter.remote()] = _Call(actor)

    def _give(self) -> None:
        """Give waiting shards to idle actors, and replace actors that died while shards wait."""
        while self.waiting and self.idle:
            actor, shard = self.idle.pop(), self.waiting.popleft()
            self.calls[actor.make.remote(*shard)] = _Call(actor, shard)
        wanted = sum(call.shard is None for call in self.calls.values())
        while len(self.calls) < self.engine.workers and wanted < len(self.waiting):
            self._start()
            wanted += 1

    def _take(self, ref: Any) -> ShardResult | None:
        """Handle a call that has returned or has died with its actor; return the shard that it made, if any."""
        call = self.calls.pop(ref)
        try:
            answer = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError:  # an exception of the worker: a bug, with its traceback
            raise
        except self.ray.exceptions.RayError as error:
            self._lost(call, error)
            return None
        if isinstance(answer, Exception):
            raise answer
        self.running.add(call.actor)
        if call.shard is None and not call.is_open:
            self.calls[call.actor.open.remote()] = _Call(call.actor, is_open=True)
            return None
        self.failed = 0
        self.idle.append(call.actor)
        return answer if isinstance(answer, ShardResult) else None

    def _lost(self, call: _Call, error: Exception) -> None:
        """Put the shard of an actor that died first in the queue.

        Raises:
            UserError: too many actors died with this shard, or before they were open.
        """
        self.running.discard(call.actor)
        self.ray.kill(call.actor)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if call.shard is None:
            self.failed += 1
            self.log.add("lost", shard=None, reason=reason)
            if self.failed >= TRIES:
                raise UserError(
                    "params.yaml: engine",
                    got=f"{self.failed} workers in a row that died while they loaded: {reason}",
                    expected="workers that fit into the memory of a node",
                    do="lower workers or raise gpus_per_worker, then: dvc repro (finished shards are kept)",
                ) from None
            return
        index, _ = call.shard
        self.tries[index] += 1
        self.log.add("lost", shard=index, reason=reason)
        if self.tries[index] >= TRIES:
            raise UserError(
                f"shard {index}",
                got=f"{self.tries[index]} workers that died while they made it: {reason}",
                expected="a shard that fits into the memory of a worker",
                do="lower generate_beams.prompts_at_once or raise engine.gpus_per_worker, then: dvc repro "
                "(finished shards are kept)",
            ) from None
        self.waiting.appendleft(call.shard)

    def _no_room(self) -> UserError:
        has = self.ray.cluster_resources()
        return UserError(
            "params.yaml: engine",
            got=f"no worker after {self.engine.patience:g} s; the cluster has {has.get('CPU', 0):g} CPUs and "
            f"{has.get('GPU', 0):g} GPUs",
            expected=f"{self.engine.cpus} CPUs and {self.engine.gpus:g} GPUs that are free on one node",
            do="add a node or wait for others to end, then: dvc repro (finished shards are kept)",
        )


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster; a connection that exists already is used and stays.

    Raises:
        UserError: there is no cluster at the address, or Ray does not start on this machine.
    """
    import ray

    if ray.is_initialized():
        yield ray
        return
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    connect(address)
    try:
        if in_main:  # Ray puts its handler for SIGTERM
            for number, handler in before.items():
                signal.signal(number, handler)
        yield ray
    finally:
        ray.shutdown()


def connect(address: str | None, **options: Any) -> None:
    """Connect to a Ray cluster, or start Ray on this machine.

    Args:
        address: see `RayEngine`.
        options: further arguments of `ray.init`.

    Raises:
        UserError: there is no cluster at the address, or Ray does not start, `TRIES` times: on a machine under load its
            processes can be too slow for its own time limits.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    options = {"logging_level": logging.ERROR, **options}
    if address is None:
        os.environ.setdefault("RAY_worker_niceness", "0")  # as the local engine's workers
        options = {"include_dashboard": False, **options}
    tries = 1 if address else TRIES
    for tried in range(1, tries + 1):
        try:
            ray.init(address=address or "local", **options)
        except Exception as error:  # noqa: BLE001 - Ray raises Exception itself
            ray.shutdown()
            if tried < tries:
                continue
            raise UserError(
                f"params.yaml: engine.address: {address or 'null'}",
                got=(str(error).splitlines() or [type(error).__name__])[0],
                expected="the address of a running Ray cluster" if address else "Ray that starts here",
                do="ray start --head on the first node, ray start --address=HOST:PORT on the others, then: dvc repro",
            ) from None
        return
