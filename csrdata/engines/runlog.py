"""The run log: timings and facts about the machine, one JSON object per line.

It is not an output of the DAG, because it differs in every run. A log that cannot be written does not stop a stage.
"""

import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any


class RunLog:
    """Appends events to a file; the first event of a run describes the machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.add("start", machine=platform.machine(), cores=os.cpu_count(), python=platform.python_version())

    def add(self, event: str, **facts: object) -> None:
        """Append an event with its Unix time in seconds."""
        append_event(self.path, event, **facts)


def append_event(path: Path, event: str, **facts: object) -> None:
    """Append an event with its Unix time in seconds to a file of JSON lines."""
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError:
        return


def cpu_seconds() -> float:
    """Return the seconds of CPU that this process and its ended children have used, on all cores."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_memory() -> dict[str, float]:
    """Return the peak memory of this process in MiB: `peak_mib`, and on an accelerator `peak_device_mib`."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = {"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)}
    torch: Any = sys.modules.get("torch")  # a stage without a model does not wait for its import
    if torch is not None and torch.cuda.is_available():
        peak["peak_device_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak
