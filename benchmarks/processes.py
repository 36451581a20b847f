"""One side of a benchmark in a new process: its seconds of CPU, its seconds by the clock and its peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    cpu_seconds: float
    """User and system, of all its threads, the import of its libraries included."""
    seconds: float
    """By the clock."""
    peak_mib: float


def measured(module: str, *options: str) -> tuple[Cost, str]:
    """Run `python -m MODULE OPTIONS` in a new process; return what it took and what it printed."""
    words: Sequence[str] = [sys.executable, "-m", module, *options]
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own script
        text = process.stdout.read() if process.stdout is not None else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024), text
