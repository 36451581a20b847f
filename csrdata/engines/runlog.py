"""The run log: timings and facts of the machine, one JSON object a line.

No output of the DAG: it is different on every run. A log that cannot be written never stops a stage.
"""

import json
import os
import platform
import resource
import sys
import time
from pathlib import Path


class RunLog:
    """Appends events to one file; the first is the machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.add("start", machine=platform.machine(), cores=os.cpu_count(), python=platform.python_version())

    def add(self, event: str, **facts: object) -> None:
        """Append one event with the time of day."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            return


def peak_memory() -> dict[str, float]:
    """Return the most memory this process has held, in MiB; on an accelerator also there."""
    import torch

    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = {"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)}
    if torch.cuda.is_available():
        peak["peak_device_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak
