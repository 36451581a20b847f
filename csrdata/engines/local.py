"""The local engine: the missing shards of a store, made in this process or in several on this machine.

An engine maps a worker over shards and writes what it returns; a result depends on the shard alone, not on the engine nor on
the number of its workers. A shard that was made before a failure is kept.
"""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from csrdata.engines.runlog import RunLog, peak_memory
from csrdata.errors import UserError
from csrdata.generation.clock import Clock
from csrdata.progress import progress
from csrdata.storage.shard_manifest import ShardFile
from csrdata.storage.tables import ShardStore


@dataclass(frozen=True)
class Worker:
    """What makes shards, one after the other, in one process."""

    make: Callable[[Sequence[Any]], Sequence[Any]]
    """A shard's items in, its rows out."""
    clock: Clock = field(default_factory=Clock)
    """What `make` tells where its time goes."""


OpenWorker = Callable[[int], Worker]
"""Loads what a worker needs, in the process that it will work in; is told the worker's number, from 0.

It goes to other processes: a function of a module, or a `partial` of one.
"""


Shard = tuple[int, Sequence[Any]]
"""A shard's number and its items."""


@dataclass(frozen=True)
class Made:
    """A shard that has been written, and what it took."""

    index: int
    file: ShardFile
    seconds: float
    spent: dict[str, float]
    memory: dict[str, float]


def run_shards(
    store: ShardStore,
    plan: Sequence[Sequence[Any]],
    open_worker: OpenWorker,
    *,
    workers: int,
    title: str,
    unit: str,
    log: RunLog,
) -> None:
    """Make the shards that are missing from a store.

    Args:
        store: where the rows go; a shard that is already good is left alone. This process alone lists finished shards.
        plan: the items of each shard, in the store's order.
        open_worker: makes a worker, once a process; not called where no shard is missing.
        workers: processes, 1 or more; one works in this process.
        title: what the progress bar says.
        unit: what it counts: the name of one item.
        log: gets each shard's items, rows and seconds, where they went, and its process's peak memory so far.

    Raises:
        UserError: a worker's, or a worker process died.
    """
    shards = [(index, plan[index]) for index in store.missing()]
    workers = min(workers, len(shards))
    finished = (
        _in_processes(store, shards, open_worker, workers)
        if workers > 1
        else _here(store, shards, open_worker)
    )
    items = sum(map(len, plan))
    with progress(total=items, title=title, unit=unit, smoothing=0.1) as bar:
        bar.update(items - sum(len(waiting) for _, waiting in shards))
        start, rows = time.perf_counter(), 0
        for made in finished:
            store.add(made.index, made.file)
            log.add(
                "shard",
                index=made.index,
                shards=len(plan),
                items=len(plan[made.index]),
                rows=made.file.rows,
                seconds=round(made.seconds, 3),
                workers=workers,
                spent=made.spent,
                **made.memory,
            )
            rows += made.file.rows
            bar.set_postfix_str(f"{rows / (time.perf_counter() - start):.0f} rows/s", refresh=False)
            bar.update(len(plan[made.index]))
    store.finish()


def shard(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a list into shards of `size`; the last may be smaller.

    Example: shard("abcde", 2) -> ab cd e
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def fitting_workers(workers: int, *, device: str, threads: int) -> int:
    """Return how many workers are worth starting: on the CPU no more than its cores have threads for, with a warning.

    Threads that wait for each other's cores take many times as long, and the number never changes a result.
    """
    if device != "cpu":
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fitting = max(1, min(workers, cores // threads))
    if fitting < workers:
        warnings.warn(
            f"params.yaml: engine.workers: {workers} of {threads} threads each do not fit on {cores} cores: "
            f"{fitting} is used",
            stacklevel=2,
        )
    return fitting


def take_device(device: str, number: int) -> str:
    """Return the device of worker `number`: of `cuda` one of this machine's GPUs, in turns; any other as it is."""
    import torch

    if device == "cuda":
        device = f"cuda:{number % torch.cuda.device_count()}"
    if device != "cpu":
        torch.cuda.set_device(device)
    return device


def _here(store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker) -> Iterator[Made]:
    if shards:
        worker = open_worker(0)
        for index, items in shards:
            yield _make(worker, store, index, items)


def _make(worker: Worker, store: ShardStore, index: int, items: Sequence[Any]) -> Made:
    start = time.perf_counter()
    rows = worker.make(items)
    with worker.clock.spend("write"):
        written = store.write(index, rows)
    return Made(index, written, time.perf_counter() - start, worker.clock.take(), peak_memory())


def _in_processes(
    store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker, workers: int
) -> Iterator[Made]:
    # Started afresh, not forked: a fork of a process whose libraries have threads, or a GPU, may hang.
    context = multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    with ProcessPoolExecutor(workers, context, _enter, (open_worker, numbers)) as pool:
        # A terminal sends Ctrl-C to every process; the workers are ended by this one, which says so in one line.
        with _interrupts_held_back():
            made = [pool.submit(_make_in_process, store, index, items) for index, items in shards]
        try:
            for future in as_completed(made):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "params.yaml: engine.workers",
                got=f"{workers}, and one of the processes died",
                expected="as many processes as fit into memory",
                do="lower it, then: dvc repro (finished shards are kept)",
            ) from None
        finally:
            if not all(
                future.done() for future in made
            ):  # a mistake, or an interrupt: nobody waits for what is under way
                for process in multiprocessing.active_children():
                    process.terminate()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold back SIGINT for the body, and for good in the processes that it starts: they inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _Process:
    """What a worker process knows of itself."""

    open_worker: OpenWorker
    number: int
    worker: Worker | None = None


_process: _Process | None = None


def _enter(open_worker: OpenWorker, numbers: Any) -> None:
    global _process  # noqa: PLW0603 - a pool's processes have no other place for what they keep between calls
    _process = _Process(open_worker, numbers.get())
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent that is killed cannot say so: without it, a worker would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_process(store: ShardStore, index: int, items: Sequence[Any]) -> Made:
    assert _process is not None  # noqa: S101 - `_enter` saw to it
    if _process.worker is None:
        _process.worker = _process.open_worker(_process.number)
    return _make(_process.worker, store, index, items)
