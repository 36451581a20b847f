"""Shared-prefix attention: a prefix that several rows share is stored and read once (as in Hydragen, arXiv 2402.05099).

A row that decodes a sentence attends to three parts: its prompt, stored once for all rows of the prompt; its answer so far,
stored once for all rows that continue it; and the sentence, stored per row. The attention is registered in transformers'
attention interface, so it works for any model that uses this interface.

The only packages used are torch and transformers. `csrdata.policy.decoding` chooses the tokens and decides when a row stops.

Shapes: P prompts, L tokens of the longest prompt, N answers, d numbers per attention head. A row is one sentence being
decoded: one group of one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHARED_PREFIX = "csrdata_shared_prefix"
"""The name of this attention in transformers' interface."""
_ROOM = 16
"""Sentences get memory for this many tokens at a time, so that most steps copy nothing."""


@dataclass(slots=True)
class PromptCache:
    """Keys and values of the prompts, including their images: one entry per prompt."""

    keys: list[Tensor]
    """One tensor per layer: [P, kv_heads, L, d]."""
    values: list[Tensor]
    mask: Tensor
    """[P, L], True at a token, False at padding."""
    following: Tensor
    """The position of the token after each prompt, [P]."""

    def bytes(self) -> int:
        """Return the memory of keys and values, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])

    def join(self, more: "PromptCache") -> "PromptCache":
        """Return a cache of these prompts followed by `more`; shorter ones are padded on the left."""
        longest = max(self.mask.shape[1], more.mask.shape[1])
        both = [_padded_left(prompts, longest) for prompts in (self, more)]
        return PromptCache(
            [torch.cat(pair) for pair in zip(*(prompts.keys for prompts in both), strict=True)],
            [torch.cat(pair) for pair in zip(*(prompts.values for prompts in both), strict=True)],
            torch.cat([prompts.mask for prompts in both]),
            torch.cat([self.following, more.following]),
        )

    def select(self, prompts: Sequence[int]) -> "PromptCache":
        """Return a copy of these prompts, in this order."""
        index = torch.tensor(list(prompts), device=self.mask.device)
        return PromptCache(
            [keys.index_select(0, index) for keys in self.keys],
            [values.index_select(0, index) for values in self.values],
            self.mask[index],
            self.following[index],
        )


@dataclass(slots=True)
class AnswerCache:
    """Keys and values of live answers, one entry per answer, followed by those of the sentences that continue it.

    Keys and values are [N, kv_heads, capacity, d] per layer. The first `start` slots hold the answer so far, where `mask` is
    True. The sentences' tokens follow, `groups` slots per token: token t of group g is in slot start + t * groups + g, and
    only rows of group g attend to it.
    """

    mask: Tensor
    """[N, start], True at a token, False at padding."""
    groups: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0
    """Tokens written for each sentence so far."""

    @property
    def start(self) -> int:
        """Number of slots before those of the sentences."""
        return self.mask.shape[1]

    @property
    def used(self) -> int:
        """Number of slots that have been written."""
        return self.start + self.length * self.groups

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one token per group, [N, kv_heads, groups, d]; return all keys and values, [N, kv_heads, n, d]."""
        end = self.used + self.groups
        for store, new in ((self.keys, key), (self.values, value)):
            if layer == len(store):
                store.append(_with_room(new[:, :, :0], self.groups))
            elif end > store[layer].shape[2]:
                store[layer] = _with_room(store[layer], self.groups)
            store[layer][:, :, self.used : end] = new
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def scores_mask(self, dtype: torch.dtype) -> Tensor:
        """Return the mask to add to the next token's attention scores: [N, 1, groups, n], 0 or -inf."""
        tokens = self.length + 1
        past = self.mask[:, None].expand(-1, self.groups, -1)
        own = torch.eye(self.groups, dtype=torch.bool, device=self.mask.device).repeat(1, tokens)
        seen = torch.cat([past, own.expand(len(past), -1, -1)], -1)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, -torch.inf)[
            :, None
        ]

    def select(self, answers: Sequence[int]) -> "AnswerCache":
        """Return a copy of these answers, in this order."""
        index = torch.tensor(list(answers), device=self.mask.device)

        def copy(stored: Tensor) -> Tensor:
            return _with_room(stored[:, :, : self.used].index_select(0, index), self.groups)

        return AnswerCache(
            self.mask[index],
            self.groups,
            [copy(keys) for keys in self.keys],
            [copy(values) for values in self.values],
            self.length,
        )

    def continued(self, has_token: Tensor, groups: int) -> "AnswerCache":
        """Return the answers extended by their sentences' one token where `has_token` [N, 1] is True, without a copy."""
        return AnswerCache(torch.cat([self.mask, has_token], -1), groups, self.keys, self.values)

    def slots(self, group: int, *, past: int, tokens: int) -> list[int]:
        """Return the slots of an answer of `past` tokens and of the first `tokens` tokens of its sentence."""
        # An answer's last token is fed when its depth begins, into the last slot before the sentences (`continued`).
        before = [*range(past - 1), self.start - 1] if past else []
        return before + [self.start + token * self.groups + group for token in range(tokens)]


def gather(
    parts: Sequence[AnswerCache], where: Sequence[tuple[int, int, Sequence[int]]], *, groups: int
) -> AnswerCache:
    """Copy answers from several parts into one cache, with room for each answer's last token and for sentences.

    Args:
        parts: the caches that hold the answers.
        where: for each answer the index of its part, its row in the part, and the slots of its tokens.
        groups: groups of the sentences that will continue the answers.
    """
    device = parts[0].mask.device
    lengths = [len(slots) for _, _, slots in where]
    longest = max(lengths)
    mask = torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None]
    gathered = AnswerCache(mask, 1)
    if not longest:
        return gathered
    empty = [row for row, length in enumerate(lengths) if not length]
    moves = []
    for number, part in enumerate(parts):
        rows = [row for row, (owner, _, slots) in enumerate(where) if owner == number and slots]
        if rows:
            _, heads, capacity, _ = part.keys[0].shape
            padded = [[*where[row][2], *[0] * (longest - lengths[row])] for row in rows]
            owners = torch.tensor([where[row][1] for row in rows], device=device)
            blocks = owners[:, None] * heads + torch.arange(heads, device=device)
            source = blocks[:, :, None] * capacity + torch.tensor(padded, device=device)[:, None]
            moves.append((part, torch.tensor(rows, device=device), source))

    def join(stored: Sequence[Tensor]) -> Tensor:
        _, heads, _, size = stored[0].shape
        joined = stored[0].new_empty(len(where), heads, longest + 1 + _ROOM * groups, size)
        joined[empty, :, :longest] = 0  # masked, but 0 times an uninitialised number can be NaN
        for tensor, (_, rows, source) in zip(stored, moves, strict=True):
            # The d numbers of one token and head are contiguous: copy them as one row.
            copied = tensor.view(-1, size).index_select(0, source.flatten())
            joined[rows, :, :longest] = copied.view(*source.shape, size)
        return joined

    for layer in range(len(moves[0][0].keys)):
        gathered.keys.append(join([part.keys[layer] for part, *_ in moves]))
        gathered.values.append(join([part.values[layer] for part, *_ in moves]))
    return gathered


class Grid:
    """Rows arranged by the block that they attend to, [blocks, width]: one matrix product serves all rows of a block."""

    def __init__(self, slots: Sequence[int], *, blocks: int, width: int, device: torch.device) -> None:
        """Arrange rows; `slots` gives each row's position in the flattened grid, 0..blocks * width - 1."""
        self.blocks, self.width = blocks, width
        # If the rows fill all slots in order, the grid is a view and no index is needed.
        self.slots: Tensor | None = None
        if list(slots) != list(range(blocks * width)):
            index = torch.tensor(list(slots))
            source = torch.zeros(blocks * width, dtype=torch.long)
            source[index] = torch.arange(len(index))  # an empty slot repeats the first row and is never read
            self.slots, self.source = index.to(device), source.to(device)

    @classmethod
    def by_owner(cls, owners: Sequence[int], *, blocks: int, device: torch.device) -> "Grid":
        """Arrange rows by owner, in order; the width is the largest number of rows of one owner."""
        filled = [0] * blocks
        ranks = []
        for owner in owners:
            ranks.append(filled[owner])
            filled[owner] += 1
        width = max(filled)
        slots = [owner * width + rank for owner, rank in zip(owners, ranks, strict=True)]
        return cls(slots, blocks=blocks, width=width, device=device)

    def spread(self, rows: Tensor) -> Tensor:
        """Arrange rows in the grid: [rows, kv_heads, share, n] -> [blocks, kv_heads, width * share, n]."""
        if self.slots is not None:
            rows = rows.index_select(0, self.source)
        _, heads, share, size = rows.shape
        grid = rows.view(self.blocks, self.width, heads, share, size).transpose(1, 2)
        return grid.reshape(self.blocks, heads, self.width * share, size)

    def collect(self, grid: Tensor, share: int) -> Tensor:
        """Take the rows out of the grid: [blocks, kv_heads, width * share, n] -> [rows, kv_heads, share, n]."""
        blocks, heads, _, size = grid.shape
        rows = grid.view(blocks, heads, self.width, share, size).transpose(1, 2)
        rows = rows.reshape(blocks * self.width, heads, share, size)
        return rows if self.slots is None else rows.index_select(0, self.slots)


class DecodingStep:
    """The rows that decode together, and the parts that each attends to: prompt, answer so far, sentence."""

    def __init__(
        self,
        prompts: PromptCache,
        prompt_of_answer: Sequence[int],
        answers: AnswerCache,
        rows: Sequence[tuple[int, int]],
    ) -> None:
        """Start with these rows; `rows` gives the answer and the group of each."""
        self.prompts, self.device = prompts, prompts.mask.device
        self.prompt_of_answer, self.rows = list(prompt_of_answer), list(rows)
        self.ids = list(range(len(rows)))
        self.parts = [answers]
        self.location = [(0, answer) for answer, _ in rows]
        """For each row, stopped ones included: the index of the part that holds its sentence, and its answer's row there."""
        hidden = ~prompts.mask
        self.prompt_mask = (
            torch.zeros(hidden.shape, device=self.device).masked_fill(hidden, -torch.inf)[:, None, None]
            if bool(hidden.any())
            else None
        )
        self.windows: dict[int, Window] = {}
        """The tokens that each window hides from the new token, by the window's size."""
        self._arrange_answers()
        self._arrange_rows()

    @property
    def answers(self) -> AnswerCache:
        """The part to which the current rows write."""
        return self.parts[-1]

    def _arrange_answers(self) -> None:
        owners = self.prompt_of_answer
        self.by_prompt = Grid.by_owner(owners, blocks=len(self.prompts.mask), device=self.device)
        self.owners = torch.tensor(owners, device=self.device)
        self.starts = self.prompts.following[self.owners] + self.answers.mask.sum(-1)
        self.tokens_before: int | None = None

    def _arrange_rows(self) -> None:
        groups = self.answers.groups
        slots = [answer * groups + group for answer, group in self.rows]
        blocks = len(self.prompt_of_answer)
        self.by_answer = Grid(slots, blocks=blocks, width=groups, device=self.device)
        self.answer_of_row = torch.tensor([answer for answer, _ in self.rows], device=self.device)

    def keep(self, going: Sequence[int]) -> None:
        """Continue these rows only. If at most half of the answers still have a row, copy those answers into a new part."""
        self.rows = [self.rows[row] for row in going]
        self.ids = [self.ids[row] for row in going]
        live = sorted({answer for answer, _ in self.rows})
        if 2 * len(live) <= len(self.prompt_of_answer):
            place = {answer: index for index, answer in enumerate(live)}
            self.parts.append(self.answers.select(live))
            self.prompt_of_answer = [self.prompt_of_answer[answer] for answer in live]
            self.rows = [(place[answer], group) for answer, group in self.rows]
            for row, (answer, _) in zip(self.ids, self.rows, strict=True):
                self.location[row] = (len(self.parts) - 1, answer)
            self._arrange_answers()
        self._arrange_rows()

    def begin(self) -> Tensor:
        """Prepare one more token of each row; return the tokens' positions [rows]."""
        self.mask = self.answers.scores_mask(torch.float32)
        self.windows.clear()
        return self.starts[self.answer_of_row] + self.answers.length

    def end(self) -> None:
        """Finish a token, after every layer has attended."""
        self.answers.length += 1

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        *,
        window: int | None = None,
    ) -> Tensor:
        """Attend from one new token of each row to its prompt, its answer so far and its sentence.

        The scores against the prompt's keys and against the answer's (which include the sentence's) are computed
        separately. One softmax is taken over both, and the weighted values of both are added.

        Args:
            layer: index of the transformer layer.
            query: [rows, heads, d].
            key: [rows, kv_heads, d] of the new token.
            value: [rows, kv_heads, d] of the new token.
            scaling: factor of the attention scores.
            window: number of the last tokens that the layer sees, the new one included; None for all.

        Returns:
            The attention's output, [rows, heads, d].
        """
        rows, heads, size = query.shape
        kv_heads = key.shape[1]
        share = heads // kv_heads
        queries = self.by_answer.spread((query * scaling).reshape(rows, kv_heads, share, size))
        keys, values = self.answers.write(
            layer, self.by_answer.spread(key[:, :, None]), self.by_answer.spread(value[:, :, None])
        )
        per_answer = queries.shape[2]
        hidden = None if window is None else self._hidden_by(window)
        own = queries @ keys.transpose(-1, -2)
        own += self.mask.repeat_interleave(share, 2) if share > 1 else self.mask
        prompts = self.by_prompt.spread(queries) @ self.prompts.keys[layer].transpose(-1, -2)
        if self.prompt_mask is not None:
            prompts += self.prompt_mask
        length = prompts.shape[-1]
        prompts = self.by_prompt.collect(prompts, per_answer)
        if hidden is not None:
            prompts = prompts.masked_fill(hidden.prompts, -torch.inf)
            own = own.masked_fill(hidden.own, -torch.inf)
        scores = torch.cat([prompts, own], -1)
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        output = weights[..., length:] @ values
        from_prompts = self.by_prompt.spread(weights[..., :length]) @ self.prompts.values[layer]
        output += self.by_prompt.collect(from_prompts, per_answer)
        return self.by_answer.collect(output, share).reshape(rows, heads, size)

    def _hidden_by(self, window: int) -> "Window | None":
        """Return the tokens that a window hides from the new token, or None if it hides none.

        A window counts tokens, not positions: image tokens that share a position are counted one by one.
        """
        said = self.answers.length
        if self.tokens_before is None:
            prompts = self.prompts.mask.sum(-1)[self.owners]
            self.tokens_before = int((prompts + self.answers.mask.sum(-1)).max())
        if self.tokens_before + said < window:
            return None
        if window not in self.windows:
            slots = torch.arange(self.prompts.mask.shape[1], device=self.device)
            answered = self.answers.mask.sum(-1, keepdim=True)
            # The distance of each token from the new one; prompts end in the last slot.
            from_prompts = len(slots) - slots + answered + said
            from_answers = answered + said - (self.answers.mask.cumsum(-1) - 1)
            sentence = torch.arange(said, -1, -1, device=self.device).repeat_interleave(self.answers.groups)
            own = torch.cat([from_answers, sentence.expand(len(answered), -1)], -1)
            self.windows[window] = Window(
                (from_prompts >= window)[:, None, None], (own >= window)[:, None, None]
            )
        return self.windows[window]


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens that a layer with a sliding window does not see: True where hidden."""

    prompts: Tensor
    """[N, 1, 1, L]."""
    own: Tensor
    """Of the answers and the sentences, [N, 1, 1, n]."""


class Attending(Protocol):
    """A step of decoding that knows what its rows attend to: `DecodingStep`, or one with static shapes."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        *,
        window: int | None = None,
    ) -> Tensor:
        """Return the attention's output, [rows, heads, d]; see `DecodingStep.attend`."""


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    shared_prefix: Attending | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute attention under transformers' interface; without a `shared_prefix`, ordinary SDPA attention.

    A layer with a sliding window passes it as `sliding_window`: flash attention, which has no mask, needs it too.

    Shapes: query [rows, heads, 1, d], key and value [rows, kv_heads, 1, d]; returns [rows, 1, heads, d].
    """
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    output = shared_prefix.attend(
        layer, query[:, :, 0], key[:, :, 0], value[:, :, 0], scaling, window=sliding_window
    )
    return output[:, None], None


AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)
AttentionMaskInterface.register(SHARED_PREFIX, sdpa_mask)


def use_shared_prefix(model: PreTrainedModel) -> None:
    """Set a model's attention to the shared-prefix one; ordinary calls of the model give the same results as before."""
    if model.config.get_text_config()._attn_implementation != SHARED_PREFIX:  # noqa: SLF001 - no public name
        model.set_attn_implementation(SHARED_PREFIX)


def _padded_left(prompts: PromptCache, length: int) -> PromptCache:
    more = length - prompts.mask.shape[1]
    if not more:
        return prompts
    return PromptCache(
        [F.pad(keys, (0, 0, more, 0)) for keys in prompts.keys],
        [F.pad(values, (0, 0, more, 0)) for values in prompts.values],
        F.pad(prompts.mask, (more, 0)),
        prompts.following,
    )


def _with_room(stored: Tensor, groups: int) -> Tensor:
    """Return a copy of [N, kv_heads, n, d] with room for more tokens of each group."""
    rows, heads, used, size = stored.shape
    enlarged = stored.new_empty(rows, heads, used + _ROOM * groups, size)
    enlarged[:, :, :used] = stored
    return enlarged
