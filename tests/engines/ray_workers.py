"""Workers of the tests of the Ray engine: light, because each actor is a process that imports this module."""

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from csrdata.engines.base import Worker
from csrdata.errors import UserError
from csrdata.records import Dropped


def rows(
    notes: Path, items: Sequence[str], *, dies: str = "", times: int = 0, meets: int = 1, pause: float = 0.0
) -> list[Dropped]:
    """Return one row per item, and note which process made which shard.

    The process dies at the item `dies` the first few times. After the first shard it waits until `meets` processes work. A
    shard takes `pause` seconds.
    """
    with (notes / "calls").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {items[0]}\n")
    end = time.monotonic() + 120
    while items[0] != "a" and len(pids(notes)) < meets and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(pause)
    if dies and dies in items and calls(notes).count(items[0]) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return [Dropped(prompt_id=item, reason="no_response", detail=item * 3) for item in items]


def open_worker(notes: Path, _number: int, **keys: Any) -> Worker:
    return Worker(partial(rows, notes, **keys))


def open_refusing(_number: int) -> Worker:
    def refuse(items: Sequence[str]) -> list[Dropped]:
        raise UserError(f"image {items[0]}", got="no file", expected="an image", do="mend it")

    return Worker(refuse)


def open_full(_number: int) -> Worker:
    def refuse(_items: Sequence[str]) -> list[Dropped]:
        raise OSError(28, "No space left on device", "data/00000.parquet")

    return Worker(refuse)


def open_buggy(_number: int) -> Worker:
    return Worker(lambda items: [1 / (len(items) - len(items))])


def die(_number: int) -> Worker:
    os._exit(9)


def calls(notes: Path) -> list[str]:
    """Return the first item of each shard that a worker began."""
    return [line.split()[1] for line in (notes / "calls").read_text(encoding="utf-8").splitlines()]


def pids(notes: Path) -> set[str]:
    return {line.split()[0] for line in (notes / "calls").read_text(encoding="utf-8").splitlines()}
