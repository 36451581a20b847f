"""How the microworld's models learn: Muon for the matrices inside the blocks, AdamW for everything else, one schedule.

Muon (torch's own) turns a matrix's gradient into the nearest orthogonal one, so that rare directions move as far as
common ones. A CLIP that tells shapes from their look-alikes comes out in half of AdamW's steps (docs/experiments.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch


class Optimisation:
    """Both optimisers of a model, stepped together, with gradients clipped at a norm of 1."""

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
        """Take charge of the parameters that are to be learned.

        Args:
            named: a model's parameters with their names; those without a gradient are passed by.
            blocks: what the name of a parameter inside a transformer block contains.
            learning_rate: AdamW's highest one.
            matrix_learning_rate: Muon's highest one, in the units of its authors (the step of a square matrix has this
                spectral norm).
            weight_decay: AdamW's, of embeddings and projections; none on gains, biases and a temperature, as is usual.
            steps: of the whole training; both rates follow `cosine_schedule`.
            warm_up: steps of the rise.
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
        """Move along the gradients, which are forgotten then, and move the schedule."""
        torch.nn.utils.clip_grad_norm_(self._learned, 1.0)
        for each in self._optimisers:
            each.step()
            each.zero_grad(set_to_none=True)
        for schedule in self._schedules:
            schedule.step()


def cosine_schedule(steps: int, warm_up: int) -> Callable[[int], float]:
    """The share of the highest learning rate at each step: a short rise, then a cosine down to a hundredth."""
    warm = min(warm_up, max(1, steps // 10))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2

    return share
