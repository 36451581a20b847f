"""What all engines do with a shard: cut the plan, make and write a shard, list it, log it, and show progress."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from csrdata.engines.base import Shard, ShardResult, Worker
from csrdata.engines.runlog import RunLog, peak_memory
from csrdata.progress import progress
from csrdata.storage.tables import ShardStore


def shard(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a list into shards of `size`; the last may be smaller.

    Example: shard("abcde", 2) -> ab cd e
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def make_shard(worker: Worker, store: ShardStore, index: int, items: Sequence[Any]) -> ShardResult:
    """Compute and write a shard in this process."""
    start = time.perf_counter()
    rows = worker.make(items)
    with worker.clock.spend("write"):
        written = replace(store.write(index, rows), prompts_at_once=worker.in_flight.take())
    return ShardResult(index, written, time.perf_counter() - start, worker.clock.take(), peak_memory())


def collect(
    finished: Iterable[ShardResult],
    *,
    store: ShardStore,
    plan: Sequence[Sequence[Any]],
    missing: Sequence[Shard],
    workers: int,
    title: str,
    unit: str,
    log: RunLog,
) -> None:
    """List shards as they are finished, with a line each in the log, and finish the store.

    Args:
        finished: yields each missing shard once, in any order.
        store: receives the shards.
        plan: the items of each shard of the store.
        missing: the shards that are made now.
        workers: the most processes that make them at the same time, for the log.
        title, unit, log: see `csrdata.engines.base.Engine`.
    """
    items = sum(len(plan[index]) for index in store.own())
    with progress(total=items, title=title, unit=unit, smoothing=0.1) as bar:
        bar.update(items - sum(len(waiting) for _, waiting in missing))
        start, rows = time.perf_counter(), 0
        for result in finished:
            store.add(result.index, result.file)
            log.add(
                "shard",
                index=result.index,
                shards=len(plan),
                items=len(plan[result.index]),
                rows=result.file.rows,
                seconds=round(result.seconds, 3),
                workers=workers,
                spent=result.spent,
                **result.memory,
            )
            rows += result.file.rows
            bar.set_postfix_str(f"{rows / (time.perf_counter() - start):.0f} rows/s", refresh=False)
            bar.update(len(plan[result.index]))
    store.finish()
