"""A clock that measures how a worker spends its time: seconds per named activity."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Clock:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def spend(self, name: str) -> Iterator[None]:
        """Add the duration of the `with` body to `name`, including the accelerator's pending work."""
        start = _now()
        try:
            yield
        finally:
            self._add(name, _now() - start)

    @contextmanager
    def spend_within(self, name: str, module: Any, rest: str) -> Iterator[None]:
        """Add the time of a torch module's forward passes in the body to `name`, and the remaining time to `rest`."""
        before = self._seconds.get(name, 0.0)
        started: list[float] = []
        hooks = [
            module.register_forward_pre_hook(lambda *_: started.append(_now())),
            module.register_forward_hook(lambda *_: self._add(name, _now() - started.pop())),
        ]
        start = _now()
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._add(rest, _now() - start - (self._seconds.get(name, 0.0) - before))

    def take(self) -> dict[str, float]:
        """Return the seconds by name and reset the clock."""
        taken, self._seconds = self._seconds, {}
        return {name: round(seconds, 4) for name, seconds in taken.items()}

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds


def _now() -> float:
    torch: Any = sys.modules.get("torch")  # a stage without a model does not wait for its import
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
