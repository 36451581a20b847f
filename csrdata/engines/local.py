"""The local engine: the missing shards of a store, one after the other, in this process.

An engine maps a worker over shards and writes what it returns; a result depends on the shard alone, not on the engine.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from csrdata.engines.clock import Clock
from csrdata.engines.runlog import RunLog, peak_memory
from csrdata.tables import ShardStore


def run_shards(
    store: ShardStore,
    plan: Sequence[Sequence[Any]],
    worker: Callable[[Sequence[Any]], Sequence[Any]],
    *,
    title: str,
    unit: str,
    log: RunLog,
    clock: Clock | None = None,
) -> None:
    """Make the shards that are missing from a store.

    Args:
        store: where the rows go; a shard that is already good is left alone.
        plan: the items of each shard, in the store's order.
        worker: a shard's items in, its rows out.
        title: what the progress bar says.
        unit: what it counts: the name of one item.
        log: gets each shard's items, rows, seconds and the process's peak memory so far.
        clock: what the worker tells where its time goes; the log gets that too.
    """
    clock = clock or Clock()
    missing = store.missing()
    done = sum(len(items) for index, items in enumerate(plan) if index not in set(missing))
    with tqdm(total=sum(map(len, plan)), initial=done, desc=title, unit=unit, smoothing=0.1) as bar:
        for index in missing:
            start = time.perf_counter()
            rows = worker(plan[index])
            with clock.spend("write"):
                store.write(index, rows)
            seconds = time.perf_counter() - start
            log.add(
                "shard",
                index=index,
                shards=len(plan),
                items=len(plan[index]),
                rows=len(rows),
                seconds=round(seconds, 3),
                spent=clock.take(),
                **peak_memory(),
            )
            bar.set_postfix_str(f"{len(rows) / seconds:.0f} rows/s")
            bar.update(len(plan[index]))


def shard(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a list into shards of `size`; the last may be smaller.

    Example: shard("abcde", 2) -> ab cd e
    """
    return [items[start : start + size] for start in range(0, len(items), size)]
