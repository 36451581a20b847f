"""The protocol of an engine. It receives a store of shards, the items of each shard, and a function that opens a worker.

Every engine guarantees:

- A shard's rows depend on its items and its worker alone, not on the engine, the number of workers or their order.
- A finished shard is kept, even if others fail. A valid shard is not computed again.
- Only the process that called the engine records finished shards in the store's manifest.
- A worker process that dies costs at most its shard, and is reported in one line (`csrdata.errors.UserError`) if the engine
  does not make that shard again; a user's mistake in a worker is always one line.
- After an interrupt, all workers have ended before the engine returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from csrdata.engines.runlog import RunLog
from csrdata.generation.clock import Clock
from csrdata.generation.in_flight import InFlight
from csrdata.storage.shard_manifest import ShardFile
from csrdata.storage.tables import ShardStore


@dataclass(frozen=True)
class Worker:
    """Computes shards one after the other in one process."""

    make: Callable[[Sequence[Any]], Sequence[Any]]
    """Return the rows of a shard, given its items."""
    clock: Clock = field(default_factory=Clock)
    """Measures how `make` spends its time."""
    in_flight: InFlight = field(default_factory=InFlight)
    """Receives the prompts in flight that `make` used, if memory ran out."""


OpenWorker = Callable[[int], Worker]
"""Opens a worker, given its number (from 0): loads what it needs, in the process in which it will run.

Must be picklable: a function at the top level of a module, or a `partial` of one.
"""


Shard = tuple[int, Sequence[Any]]
"""A shard's number and its items."""


@dataclass(frozen=True)
class ShardResult:
    """A shard that has been written, with the time and memory it needed."""

    index: int
    file: ShardFile
    seconds: float
    """Duration, writing included."""
    spent: dict[str, float]
    """Seconds by activity, from the worker's clock."""
    memory: dict[str, float]
    """Peak memory of the process so far, MiB; see `peak_memory`."""


class Engine(Protocol):
    """Decides where and when the shards of a store are computed."""

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
        """Compute and write the shards that are missing from a store.

        Args:
            store: receives the rows.
            plan: the items of each shard, in the store's order.
            open_worker: opens a worker, once per process; not called if no shard is missing.
            title: label of the progress bar.
            unit: name of one item, for the progress bar.
            log: receives one event per shard: items, rows, seconds, and peak memory of its process.

        Raises:
            UserError: a worker raised it, or a worker process died.
        """
        ...
