"""The optimiser of the microworld's models: Muon for matrices inside blocks, AdamW for the rest, one schedule.

`torch.optim.Muon` replaces the update of a matrix by the nearest orthogonal matrix, so that rare directions change as much
as common ones. With it, a CLIP learns to distinguish similar shapes in half as many steps (docs/experiments.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch


class Optimisation:
    """Both optimisers of a model; they step together, with gradients clipped to a norm of 1."""

    def __init__(
        self,
        named: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        blocks: str,
        learning_rate: float,
        matrix_learning_rate: float,
        weight_decay: float,
        steps: int,
        warm_up: int,
    ) -> None:
        """Create the optimisers of the parameters that are trained.

        Args:
            named: a model's parameters with their names; those that need no gradient are ignored.
            blocks: a text that occurs in the name of every parameter inside a transformer block.
            learning_rate: highest learning rate of AdamW.
            matrix_learning_rate: highest learning rate of Muon, in its authors' units: the spectral norm of the update of a
                square matrix.
            weight_decay: of AdamW, for embeddings and projections; 0 for gains, biases and the temperature, as is usual.
            steps: steps of the whole training; both learning rates follow `cosine_schedule`.
            warm_up: steps in which the learning rates rise.
        """
        learned = [(name, each) for name, each in named if each.requires_grad]
        matrices = [each for name, each in learned if blocks in name and each.ndim == 2]
        inside = {id(each) for each in matrices}
        others = [each for _, each in learned if id(each) not in inside]
        self._learned = [each for _, each in learned]
        decay = [each for each in others if each.ndim >= 2]
        plain = [each for each in others if each.ndim < 2]
        self._optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=matrix_learning_rate, weight_decay=0.0),
            torch.optim.AdamW(
                [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
                lr=learning_rate,
                betas=(0.9, 0.98),
                fused=True,
            ),
        ]
        share = cosine_schedule(steps, warm_up)
        self._schedules = [torch.optim.lr_scheduler.LambdaLR(each, share) for each in self._optimisers]

    def step(self) -> None:
        """Update the parameters, clear the gradients, and advance the schedule."""
        torch.nn.utils.clip_grad_norm_(self._learned, 1.0)
        for each in self._optimisers:
            each.step()
            each.zero_grad(set_to_none=True)
        for schedule in self._schedules:
            schedule.step()


def cosine_schedule(steps: int, warm_up: int) -> Callable[[int], float]:
    """Return a function from step to share of the highest learning rate: a short linear rise, then a cosine down to 0.01."""
    warm = min(warm_up, max(1, steps // 10))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2

    return share
