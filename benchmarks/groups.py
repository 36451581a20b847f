"""Diverse group decoding for transformers' `generate`, as the searches that csrdata is compared with do it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class VectorisedGroups(LogitsProcessor):
    """Diverse group decoding: rows g, g + groups, ... are group g, penalized for tokens that earlier groups took."""

    def __init__(
        self, *, groups: int, penalty: float, banned: Sequence[int], ends: Sequence[int] = ()
    ) -> None:
        """Nothing is penalized for `ends`, the tokens that end an answer."""
        self.groups, self.penalty, self.banned, self.ends = groups, penalty, list(banned), list(ends)
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' interface
        logprobs = scores.float().log_softmax(-1)
        allowed = logprobs.clone()
        allowed[:, self.banned] = -torch.inf
        rows = allowed.view(-1, self.groups, allowed.shape[-1])
        counts = torch.zeros_like(rows[:, 0])
        tokens = []
        for group in range(self.groups):
            chosen = (rows[:, group] - self.penalty * counts).argmax(-1)
            counts.scatter_add_(1, chosen[:, None], torch.ones_like(counts[:, :1]))
            if self.ends:
                counts[:, self.ends] = 0
            tokens.append(chosen)
        flat = torch.stack(tokens, 1).view(-1, 1)
        self.logprobs.append(logprobs.gather(1, flat)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(1, flat, 0.0)
