"""CUDA graphs: a step that was captured once is started by one call, so that it does not wait for its launches.

A step must read and write fixed places only, and must not ask for a value on the host. **Nothing here has been run on a
GPU**: the tests record a step's operators on a CPU and repeat them on the same tensors.
"""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch

MOST = 96
"""Graphs that are kept; the one that was captured first goes first."""


class Runner(Protocol):
    """Runs steps that read and write fixed places."""

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        """Run a step; steps of one key run the same operators on the same places."""

    def clear(self) -> None:
        """Forget all keys: places have moved."""


class Direct:
    """Runs each step as it is, operator by operator."""

    def run(self, key: Hashable, step: Callable[[], None]) -> None:  # noqa: ARG002 - nothing is kept
        step()

    def clear(self) -> None:
        """Do nothing."""


class CudaGraphs:
    """Captures the first step of each key, and replays it for the others."""

    def __init__(self) -> None:
        self.graphs: dict[Hashable, Any] = {}
        self.pool: Any = None

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        """Replay the key's graph; capture it first if there is none.

        Raises:
            RuntimeError: the step cannot be captured.
        """
        if key not in self.graphs:
            if len(self.graphs) >= MOST:
                del self.graphs[next(iter(self.graphs))]
            self.graphs[key] = self._capture(step)
        self.graphs[key].replay()

    def clear(self) -> None:
        """Forget all graphs."""
        self.graphs.clear()
        self.pool = None

    def _capture(self, step: Callable[[], None]) -> Any:
        # Libraries choose kernels and allocate on a first run, which a capture must not see.
        aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self.pool):
            step()
        return graph


def runner_for(device: torch.device) -> Runner:
    """Return CUDA graphs on a GPU; elsewhere the runner that captures nothing."""
    return CudaGraphs() if device.type == "cuda" else Direct()
