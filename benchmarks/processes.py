"""One side of a benchmark in a new process: its seconds of CPU, its seconds by the clock and its peak memory.

The process tells its peak itself: what `wait4` reports begins with the memory of the process that started it.
"""

import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    cpu_seconds: float
    """User and system, of all its threads, the import of its libraries included."""
    seconds: float
    """By the clock."""
    peak_mib: float


def measured(module: str, *options: str) -> tuple[Cost, str]:
    """Run `python -m MODULE OPTIONS` in a new process; return what it took and what it printed. Linux only."""
    with tempfile.TemporaryDirectory() as scratch:
        peak = Path(scratch) / "peak"
        words: Sequence[str] = [sys.executable, "-m", "benchmarks.processes", str(peak), module, *options]
        start = time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own script
            text = process.stdout.read() if process.stdout is not None else ""
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} failed")
        seconds = time.perf_counter() - start
        return Cost(usage.ru_utime + usage.ru_stime, seconds, int(peak.read_text()) / 1024), text


def main() -> None:
    """Run a module; write the KiB of this process's peak memory into a file."""
    peak, module, *options = sys.argv[1:]
    sys.argv = [module, *options]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        Path(peak).write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


if __name__ == "__main__":
    main()
