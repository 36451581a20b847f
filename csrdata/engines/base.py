"""What an engine promises, and what it is given: a store of shards, the items of each shard, and how to open a worker.

Every engine keeps these promises:

- A shard's rows depend on its items and its worker alone, not on the engine, the number of workers or their order.
- A shard that is finished is kept, whatever happens to the others. A good shard is not made again.
- One process lists finished shards: the one that called the engine.
- A worker process that dies is reported in one line (`csrdata.errors.UserError`), and so is a user's mistake in a worker.
- An interrupt ends all workers before the engine returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from csrdata.engines.runlog import RunLog
from csrdata.generation.clock import Clock
from csrdata.storage.shard_manifest import ShardFile
from csrdata.storage.tables import ShardStore


@dataclass(frozen=True)
class Worker:
    """Makes shards, one after the other, in one process."""

    make: Callable[[Sequence[Any]], Sequence[Any]]
    """Return the rows of a shard, given its items."""
    clock: Clock = field(default_factory=Clock)
    """Measures where the time of `make` goes."""


OpenWorker = Callable[[int], Worker]
"""Loads what a worker needs, given the worker's number (from 0), in the process in which it will work.

Must be picklable: a function of a module, or a `partial` of one.
"""


Shard = tuple[int, Sequence[Any]]
"""A shard's number and its items."""


@dataclass(frozen=True)
class ShardResult:
    """A shard that has been written, and what it took."""

    index: int
    file: ShardFile
    seconds: float
    spent: dict[str, float]
    """Seconds by what they were spent on."""
    memory: dict[str, float]
    """Peak memory of the process so far."""


class Engine(Protocol):
    """Decides where and when the shards of a store are made."""

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
        """Make the shards that are missing from a store.

        Args:
            store: receives the rows.
            plan: the items of each shard, in the store's order.
            open_worker: opens a worker, once per process; not called if no shard is missing.
            title: label of the progress bar.
            unit: name of one item, for the progress bar.
            log: receives each shard's items, rows, seconds, and its process's peak memory.

        Raises:
            UserError: a worker raised it, or a worker process died.
        """
        ...
