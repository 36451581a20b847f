"""What the engines add to the time of a run: shards that only sleep, made by workers of this machine and by Ray actors.

`python -m benchmarks.engines [--seconds 1] [--shards 40] [--workers 4]`. A shard sleeps, returns one row, and is
written, listed and logged as any other. Time per shard beyond the sleep is the overhead; it does not depend on how long a
shard takes, so its share of a shard of 10 seconds follows. Starting Ray and its workers is measured apart.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from csrdata.engines.base import Engine, Worker
from csrdata.engines.local import LocalEngine
from csrdata.engines.ray import RayEngine, connect
from csrdata.engines.runlog import RunLog
from csrdata.engines.shards import shard
from csrdata.records import Dropped
from csrdata.storage.tables import ShardStore

LONG = 10.0
"""Seconds of the shard whose overhead is stated."""


def main() -> None:
    """Print the overhead of each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a shard sleeps, > 0")
    parser.add_argument("--shards", type=int, default=40, help="of each run, 1 or more")
    parser.add_argument("--workers", type=int, default=4, help="that share them, 1 or more")
    given = parser.parse_args()
    start = time.perf_counter()
    connect(None, num_cpus=given.workers, log_to_driver=False)
    print(f"Ray starts in {time.perf_counter() - start:.1f} s")
    engines: dict[str, tuple[Engine, int]] = {
        "local, 1 worker": (LocalEngine(), 1),
        "local": (LocalEngine(given.workers), given.workers),
        "Ray, 1 worker": (RayEngine(1, gpus=0, cpus=1), 1),
        "Ray": (RayEngine(given.workers, gpus=0, cpus=1), given.workers),
    }
    print(
        "| engine | workers | first shard begins after | ms per shard beyond its sleep | of a shard of 10 s |"
    )
    print("|---|---|---|---|---|")
    for name, (engine, workers) in engines.items():
        shards = max(1, given.shards * workers // given.workers)
        opened, more = overhead(engine, seconds=given.seconds, shards=shards, workers=workers)
        print(
            f"| {name} | {workers} | {opened:.2f} s | {1000 * more:.1f} | {100 * more / LONG:.2f}% |",
            flush=True,
        )


def overhead(engine: Engine, *, seconds: float, shards: int, workers: int) -> tuple[float, float]:
    """Run shards that sleep; return the seconds before the first one began, and those beyond its sleep of each shard.

    A worker begins when it has opened. From when the last one began to the end, each made its shards one after the other.
    """
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        start = time.time()
        engine.run(
            ShardStore(Path(folder) / "shards", Dropped, fingerprint={}, shards=shards),
            shard(range(shards), 1),
            partial(open_worker, notes, seconds),
            title="shards",
            unit="shard",
            log=RunLog(Path(folder) / "log.jsonl"),
        )
        end = time.time()
        began = [[float(line) for line in path.read_text().split()] for path in notes.iterdir()]
    # Of each worker: the time from one begin to the next; of its last shard, to the end of the run if it was the last.
    gaps = [later - earlier for times in began for earlier, later in pairwise(times)]
    last = end - max(times[-1] for times in began)
    between = [*gaps, last]
    if len(began) != workers:
        raise SystemExit(f"{len(began)} of {workers} workers began; try more shards")
    return min(times[0] for times in began) - start, sum(between) / len(between) - seconds


def open_worker(notes: Path, seconds: float, number: int) -> Worker:
    """Return a worker whose shards sleep; it notes when each begins."""
    return Worker(partial(_sleep, notes / str(number), seconds))


def _sleep(note: Path, seconds: float, items: Sequence[int]) -> list[Dropped]:
    with note.open("a", encoding="utf-8") as file:
        file.write(f"{time.time()}\n")
    time.sleep(seconds)
    return [Dropped(f"p{items[0]:06d}", "no_response", "")]


if __name__ == "__main__":
    main()
