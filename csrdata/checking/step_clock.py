"""The time of training steps, by hooks on the language model and on the optimiser.

The first step of a process is *cold*: libraries are loaded, kernels chosen and memory taken from the system, which a run
pays once. Estimates take the last step. A forward pass without a step after it is one of the preflight.
"""

import time
from types import TracebackType
from typing import Any, Self

from torch.optim.optimizer import register_optimizer_step_post_hook


class StepClock:
    """Times the training that runs while it is open.

    Args:
        decoder: the language model; each step calls it once.

    Example: `with StepClock(model.get_decoder()) as clock: train(...)`, then `clock.step`
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        self._hooks = [
            self._decoder.register_forward_pre_hook(lambda *_: self._starts.append(time.perf_counter())),
            register_optimizer_step_post_hook(lambda *_: self._ends.append(time.perf_counter())),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    @property
    def step(self) -> float:
        """Seconds of the last step, from the end of the one before it: data, forward and backward pass, optimiser."""
        return self._ends[-1] - self._ends[-2]

    @property
    def preflight(self) -> float:
        """Seconds of the forward passes before the first step, at most as many as of a step; 0 without any.

        They are cold as the first step is. A step does what they do and more, so that a warm step is a bound for them.
        """
        passes = len(self._starts) - len(self._ends)
        if not passes:
            return 0.0
        return min(self._starts[passes] - self._starts[0], passes * self.step)
