"""An engine in few lines: makes missing shards one after the other, and says which."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from csrdata.engines.base import OpenWorker
from csrdata.engines.runlog import RunLog
from csrdata.storage.tables import ShardStore


@dataclass
class CountingEngine:
    """Keeps the promises of `csrdata.engines.base` with one worker in this process."""

    made: list[int] = field(default_factory=list)

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
        """Make the shards that are missing from a store."""
        missing = store.missing()
        worker = open_worker(0) if missing else None
        for index in missing:
            rows = worker.make(plan[index]) if worker else []
            store.add(index, store.write(index, rows))
            log.add("shard", index=index, rows=len(rows))
            self.made.append(index)
        store.finish()
