"""The local engine: it computes the missing shards of a store in this process, or in several processes on this machine.

It gives the guarantees that `csrdata.engines.base` lists.
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from csrdata.engines.base import OpenWorker, Shard, ShardResult, Worker
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import collect, make_shard
from csrdata.errors import UserError
from csrdata.storage.tables import ShardStore


@dataclass(frozen=True)
class LocalEngine:
    """An `Engine` on this machine."""

    workers: int = 1
    """Number of worker processes, 1 or more; a single worker runs in this process."""

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
        workers = min(self.workers, len(shards))
        finished = (
            _in_processes(store, shards, open_worker, workers)
            if workers > 1
            else _in_this_process(store, shards, open_worker)
        )
        collect(
            finished,
            store=store,
            plan=plan,
            missing=shards,
            workers=workers,
            title=title,
            unit=unit,
            log=log,
        )


def fitting_workers(workers: int, *, device: str, threads: int) -> int:
    """Return the number of workers to start: on the CPU at most cores / threads, with a warning if that is fewer.

    More threads than cores make a run many times slower. The number of workers never changes a result.

    Args:
        workers: the number asked for, 1 or more.
        device: a torch device; only `cpu` has the limit.
        threads: threads of each worker, 1 or more.
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
    """Set and return the torch device of worker `number`: for `cuda` one of the GPUs, in order; else `device` unchanged."""
    import torch

    if device == "cuda":
        device = f"cuda:{number % torch.cuda.device_count()}"
    if device != "cpu":
        torch.cuda.set_device(device)
    return device


def _in_this_process(
    store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker
) -> Iterator[ShardResult]:
    if shards:
        worker = open_worker(0)
        for index, items in shards:
            yield make_shard(worker, store, index, items)


def _in_processes(
    store: ShardStore, shards: Sequence[Shard], open_worker: OpenWorker, workers: int
) -> Iterator[ShardResult]:
    # Spawn, not fork: a fork of a process with threads or a GPU can hang.
    context = multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    with ProcessPoolExecutor(workers, context, _start_process, (open_worker, numbers)) as pool:
        # A terminal sends Ctrl-C to every process. The workers block it; this process ends them and reports one line.
        with _interrupts_blocked():
            futures = [pool.submit(_make_in_process, store, index, items) for index, items in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "params.yaml: engine.workers",
                got=f"{workers}, and one of the processes died",
                expected="as many processes as fit into memory",
                do="lower it, then: dvc repro (finished shards are kept)",
            ) from None
        finally:
            # After an error or an interrupt, unfinished shards are dropped.
            if not all(future.done() for future in futures):
                for process in multiprocessing.active_children():
                    process.terminate()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT during the body. Processes started in it inherit the mask, so SIGINT stays blocked in them."""
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


def _start_process(open_worker: OpenWorker, numbers: Any) -> None:
    global _process  # noqa: PLW0603 - a pool's process has no other place for state between calls
    _process = _Process(open_worker, numbers.get())
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent process has ended: a parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_process(store: ShardStore, index: int, items: Sequence[Any]) -> ShardResult:
    assert _process is not None  # noqa: S101 - `_start_process` sets it
    if _process.worker is None:
        _process.worker = _process.open_worker(_process.number)
    return make_shard(_process.worker, store, index, items)
