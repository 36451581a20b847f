"""Shared-prefix attention: what rows have in common is stored and read once (as in Hydragen, arXiv 2402.05099).

Rows that decode a sentence attend to three things: their prompt, whose keys and values are kept once for all its rows;
their answer so far, kept once for all rows that continue it; and the sentence itself, which every row keeps alone. It
enters through transformers' attention interface, so that any model that uses it can be decoded this way.

No third-party package but torch and transformers. What is decoded, and when a row stops, is `decoding`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHARED_PREFIX = "csrdata_shared_prefix"
"""The attention's name in transformers' interface."""
_ROOM = 32
"""Tokens of room that a sentence's keys and values get at a time, so that no step copies the past."""


@dataclass(slots=True)
class Shared:
    """Keys and values that several rows attend to: of prompts, or of the answers so far."""

    keys: list[Tensor]
    """A layer each: [N, kv_heads, L, d]."""
    values: list[Tensor]
    mask: Tensor
    """[N, L], True where there is a token."""

    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])

    def select(self, rows: Sequence[int]) -> "Shared":
        """Return a copy of these rows, in this order."""
        index = torch.tensor(list(rows), device=self.mask.device)
        return Shared(
            [keys.index_select(0, index) for keys in self.keys],
            [values.index_select(0, index) for values in self.values],
            self.mask[index],
        )

    def append(self, own: "Own") -> None:
        """Put each row's one token of `own` at the first free place of its mask."""
        every = torch.arange(len(self.mask), device=self.mask.device)
        free = self.mask.sum(-1)
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            keys[every, :, free] = own.keys[layer][:, :, 0]
            values[every, :, free] = own.values[layer][:, :, 0]
        self.mask[every, free] = True


@dataclass(slots=True)
class Own:
    """The rows' keys and values of the sentence being decoded; all rows have as many tokens."""

    length: int = 0
    keys: list[Tensor] = field(default_factory=list)
    """A layer each: [rows, kv_heads, capacity, d], with room for more tokens than there are."""
    values: list[Tensor] = field(default_factory=list)

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one token of each row, [rows, kv_heads, d]; return keys and values with it, [rows, kv_heads, n, d]."""
        if layer == len(self.keys):
            rows, heads, size = key.shape
            self.keys.append(key.new_empty(rows, heads, _ROOM, size))
            self.values.append(value.new_empty(rows, heads, _ROOM, size))
        elif self.length == self.keys[layer].shape[2]:
            more = (0, 0, 0, _ROOM)
            self.keys[layer] = torch.nn.functional.pad(self.keys[layer], more)
            self.values[layer] = torch.nn.functional.pad(self.values[layer], more)
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, self.length] = key
        values[:, :, self.length] = value
        return keys[:, :, : self.length + 1], values[:, :, : self.length + 1]

    def select(self, rows: Sequence[int]) -> "Own":
        """Return a copy of these rows, in this order."""
        if not self.keys:
            return Own()
        index = torch.tensor(list(rows), device=self.keys[0].device)
        return Own(
            self.length,
            [keys.index_select(0, index) for keys in self.keys],
            [values.index_select(0, index) for values in self.values],
        )


class Grid:
    """Rows laid out by the block that they attend to: [blocks, width], so that one matrix product serves a block's rows."""

    def __init__(self, block_of_row: Sequence[int], blocks: int, device: torch.device) -> None:
        owner = torch.tensor(list(block_of_row))
        counts = torch.bincount(owner, minlength=blocks)
        self.blocks, self.width = blocks, int(counts.max())
        # Where every block has as many rows, in the blocks' order, the layout is a view.
        self.slots: Tensor | None = None
        even = torch.arange(blocks).repeat_interleave(self.width)
        if not torch.equal(owner, even):
            order = owner.argsort(stable=True)
            rank = torch.empty_like(order)
            rank[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[owner[order]]
            slots = owner * self.width + rank
            source = torch.zeros(blocks * self.width, dtype=torch.long)
            source[slots] = torch.arange(len(owner))  # an empty slot repeats the first row; nothing reads it
            self.slots, self.source = slots.to(device), source.to(device)

    def spread(self, rows: Tensor) -> Tensor:
        """[rows, kv_heads, share, n] -> [blocks, kv_heads, width * share, n]."""
        if self.slots is not None:
            rows = rows.index_select(0, self.source)
        _, heads, share, size = rows.shape
        grid = rows.view(self.blocks, self.width, heads, share, size).transpose(1, 2)
        return grid.reshape(self.blocks, heads, self.width * share, size)

    def collect(self, grid: Tensor, share: int) -> Tensor:
        """[blocks, kv_heads, width * share, n] -> [rows, kv_heads, share, n]."""
        blocks, heads, _, size = grid.shape
        rows = grid.view(blocks, heads, self.width, share, size).transpose(1, 2)
        rows = rows.reshape(blocks * self.width, heads, share, size)
        return rows if self.slots is None else rows.index_select(0, self.slots)


class Step:
    """The rows that decode together, and the three things that each attends to: its prompt, its answer so far, itself."""

    def __init__(
        self,
        prompts: Shared,
        past: Shared | None,
        prompt_of_branch: Sequence[int],
        branch_of_row: Sequence[int],
        device: torch.device,
    ) -> None:
        self.own, self.device = Own(), device
        self.shared = [prompts] if past is None else [prompts, past]
        branches = list(branch_of_row)
        self.block_of_row = [[prompt_of_branch[branch] for branch in branches], branches][: len(self.shared)]
        self._lay_out()

    def _lay_out(self) -> None:
        self.grids = [
            Grid(owner, len(shared.mask), self.device)
            for owner, shared in zip(self.block_of_row, self.shared, strict=True)
        ]
        # Added to a block's scores; None where nothing is masked.
        self.masks = [
            None
            if bool(shared.mask.all())
            else torch.zeros(shared.mask.shape, device=self.device).masked_fill(~shared.mask, -torch.inf)[
                :, None, None
            ]
            for shared in self.shared
        ]
        lengths = [
            shared.mask.sum(-1)[torch.tensor(owner, device=self.device)]
            for owner, shared in zip(self.block_of_row, self.shared, strict=True)
        ]
        self.starts = torch.stack(lengths).sum(0)

    def keep(self, going: Sequence[int]) -> None:
        """Go on with these rows only."""
        self.own = self.own.select(going)
        self.block_of_row = [[owner[row] for row in going] for owner in self.block_of_row]
        self._lay_out()

    def positions(self) -> Tensor:
        """Positions [rows] of the tokens that are fed next, counted from the prompt's first token."""
        return self.starts + self.own.length

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attend from one new token of each row to its prompt, its answer so far and its own sentence.

        Every part's scores are taken against keys that are stored once for all rows of a prompt (or of an answer); one
        softmax runs over all of them, and the parts' weighted values are added.

        Args:
            query: [rows, heads, d]; key, value: [rows, kv_heads, d] of the new token.

        Returns:
            [rows, heads, d].
        """
        rows, heads, size = query.shape
        kv_heads = key.shape[1]
        share = heads // kv_heads
        own_keys, own_values = self.own.write(layer, key, value)
        query = query.reshape(rows, kv_heads, share, size) * scaling
        scores = []
        for grid, shared, mask in zip(self.grids, self.shared, self.masks, strict=True):
            found = grid.spread(query) @ shared.keys[layer].transpose(-1, -2)
            scores.append(grid.collect(found if mask is None else found + mask.to(found.dtype), share))
        scores.append(query @ own_keys.transpose(-1, -2))
        weights = torch.cat(scores, -1).softmax(-1, dtype=torch.float32).to(value.dtype)
        parts = torch.split(weights, [part.shape[-1] for part in scores], -1)
        output = parts[-1] @ own_values
        for part, grid, shared in zip(parts, self.grids, self.shared, strict=False):
            output += grid.collect(grid.spread(part) @ shared.values[layer], share)
        return output.view(rows, heads, size)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    shared_prefix: Step | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention under transformers' interface; without a `shared_prefix` it is the ordinary one.

    Shapes: query [rows, heads, 1, d], key and value [rows, kv_heads, 1, d]; returns [rows, 1, heads, d].
    """
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = shared_prefix.attend(module.layer_idx, query[:, :, 0], key[:, :, 0], value[:, :, 0], scaling)  # type: ignore[arg-type]
    return output[:, None], None


AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)
AttentionMaskInterface.register(SHARED_PREFIX, sdpa_mask)


def use_shared_prefix(model: PreTrainedModel) -> None:
    """Switch a model's attention to the shared-prefix one; ordinary calls of the model stay what they were."""
    if model.config.get_text_config()._attn_implementation != SHARED_PREFIX:  # noqa: SLF001 - there is no public one
        model.set_attn_implementation(SHARED_PREFIX)
