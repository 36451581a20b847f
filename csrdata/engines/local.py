"""The local engine: makes the missing shards of a store in this process, or in several processes on this machine.

It keeps the promises of `csrdata.engines.base`.
"""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from csrdata.engines.base import OpenWorker, Shard, ShardResult, Worker
from csrdata.engines.runlog import RunLog, peak_memory
from csrdata.errors import UserError
from csrdata.progress import progress
from csrdata.storage.tables import ShardStore


@dataclass(frozen=True)
class LocalEngine:
    """An `Engine` on this machine."""

    workers: int = 1
    """Processes, 1 or more; one worker works in this process."""

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
        """Make the shards that are missing from a store; see `csrdata.engines.base.Engine`."""
        shards = [(index, plan[index]) for index in store.missing()]
        workers = min(self.workers, len(shards))
        finished = (
            _in_processes(store, shards, open_worker, workers)
            if workers > 1
            else _here(store, shards, open_worker)
        )
        items = sum(map(len, plan))
        with progress(total=items, title=title, unit=unit, smoothing=0.1) as bar:
            bar.update(items - sum(len(waiting) for _, waiting in shards))
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
    """Return the device of worker `number`: of `cuda` this machine's GPUs one after the other; any other device as it is."""
    import torch

    if device == "cuda":
        device = f"cuda:{number % torch.cuda.device_count()}"
    if device != "cpu":
        torch.cuda.set_device(device)
    return device


def _here(store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker) -> Iterator[ShardResult]:
    if shards:
        worker = open_worker(0)
        for index, items in shards:
            yield _make(worker, store, index, items)


def _make(worker: Worker, store: ShardStore, index: int, items: Sequence[Any]) -> ShardResult:
    start = time.perf_counter()
    rows = worker.make(items)
    with worker.clock.spend("write"):
        written = store.write(index, rows)
    return ShardResult(index, written, time.perf_counter() - start, worker.clock.take(), peak_memory())


def _in_processes(
    store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker, workers: int
) -> Iterator[ShardResult]:
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
            # After an error or an interrupt the shards under way are dropped.
            if not all(future.done() for future in made):
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
    """The state of a worker process."""

    open_worker: OpenWorker
    number: int
    worker: Worker | None = None


_process: _Process | None = None


def _enter(open_worker: OpenWorker, numbers: Any) -> None:
    global _process  # noqa: PLW0603 - a pool's processes have no other place for what they keep between calls
    _process = _Process(open_worker, numbers.get())
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent is gone: a parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_process(store: ShardStore, index: int, items: Sequence[Any]) -> ShardResult:
    assert _process is not None  # noqa: S101 - `_enter` saw to it
    if _process.worker is None:
        _process.worker = _process.open_worker(_process.number)
    return _make(_process.worker, store, index, items)
