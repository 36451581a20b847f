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
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHARED_PREFIX = "csrdata_shared_prefix"
"""The attention's name in transformers' interface."""
_ROOM = 16
"""Tokens of room that sentences get at a time, so that no step copies the past."""


@dataclass(slots=True)
class PromptCache:
    """Keys and values of the prompts, images included, once a prompt."""

    keys: list[Tensor]
    """A layer each: [P, kv_heads, L, d]."""
    values: list[Tensor]
    mask: Tensor
    """[P, L], True where there is a token."""
    following: Tensor
    """The position of the token behind each prompt, [P]."""

    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])

    def join(self, more: "PromptCache") -> "PromptCache":
        """Return these prompts and more behind them, the shorter ones padded on the left."""
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
    """Keys and values of live answers, once an answer, and behind them those of the sentences that continue it.

    A layer is [N, kv_heads, capacity, d]. Of the slots, the first `start` are the answer so far, as `mask` says; then
    come the sentences' tokens, `groups` slots a token: token t of group g lies in slot start + t * groups + g, and only
    its own group sees it.
    """

    mask: Tensor
    """[N, start], True where there is a token."""
    groups: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0
    """Tokens of each sentence so far."""

    @property
    def start(self) -> int:
        """Slots before the sentences' own."""
        return self.mask.shape[1]

    @property
    def used(self) -> int:
        """Slots that have been written."""
        return self.start + self.length * self.groups

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one token a slot, [N, kv_heads, groups, d]; return all keys and values, [N, kv_heads, n, d]."""
        end = self.used + self.groups
        for store, new in ((self.keys, key), (self.values, value)):
            if layer == len(store):
                store.append(_with_room(new[:, :, :0], self.groups))
            elif end > store[layer].shape[2]:
                store[layer] = _with_room(store[layer], self.groups)
            store[layer][:, :, self.used : end] = new
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def scores_mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of the next token's slots: [N, 1, groups, n], 0 or -inf."""
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

    def continued(self, spoken: Tensor, groups: int) -> "AnswerCache":
        """Return the same answers with their sentences' one token, where `spoken` [N, 1], behind them: no copy."""
        return AnswerCache(torch.cat([self.mask, spoken], -1), groups, self.keys, self.values)

    def slots(self, group: int, *, past: int, tokens: int) -> list[int]:
        """Where an answer of `past` tokens and the first tokens of its sentence lie."""
        # What is behind an answer lies in its first slots, but for the last token, which is behind all others.
        behind = [*range(past - 1), self.start - 1] if past else []
        return behind + [self.start + token * self.groups + group for token in range(tokens)]


def gather(
    parts: Sequence[AnswerCache], where: Sequence[tuple[int, int, Sequence[int]]], *, groups: int
) -> AnswerCache:
    """Bring answers together that lie in several parts, each with room for its last token and for sentences.

    Args:
        parts: where they lie.
        where: of each answer its part, its row there, and the slots of its tokens.
        groups: of the sentences that will continue the answers.
    """
    device = parts[0].mask.device
    lengths = [len(slots) for _, _, slots in where]
    longest = max(lengths)
    mask = torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None]
    found = AnswerCache(mask, 1)
    if not longest:
        return found
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
        joined[empty, :, :longest] = 0  # masked, but a weight of 0 times what memory holds may be NaN
        for tensor, (_, rows, source) in zip(stored, moves, strict=True):
            # A token's numbers of one head lie together: they are copied as one.
            copied = tensor.view(-1, size).index_select(0, source.flatten())
            joined[rows, :, :longest] = copied.view(*source.shape, size)
        return joined

    for layer in range(len(moves[0][0].keys)):
        found.keys.append(join([part.keys[layer] for part, *_ in moves]))
        found.values.append(join([part.values[layer] for part, *_ in moves]))
    return found


class Grid:
    """Rows laid out by the block that they attend to: [blocks, width], so that one matrix product serves a block's rows."""

    def __init__(self, slots: Sequence[int], *, blocks: int, width: int, device: torch.device) -> None:
        """`slots`: of each row its place among blocks * width."""
        self.blocks, self.width = blocks, width
        # Where every slot has a row, in order, the layout is a view.
        self.slots: Tensor | None = None
        if list(slots) != list(range(blocks * width)):
            index = torch.tensor(list(slots))
            source = torch.zeros(blocks * width, dtype=torch.long)
            source[index] = torch.arange(len(index))  # an empty slot repeats the first row; nothing reads it
            self.slots, self.source = index.to(device), source.to(device)

    @classmethod
    def by_owner(cls, owners: Sequence[int], *, blocks: int, device: torch.device) -> "Grid":
        """Lay rows out by their owner, each owner's in order; as wide as the one with the most."""
        filled = [0] * blocks
        ranks = []
        for owner in owners:
            ranks.append(filled[owner])
            filled[owner] += 1
        width = max(filled)
        slots = [owner * width + rank for owner, rank in zip(owners, ranks, strict=True)]
        return cls(slots, blocks=blocks, width=width, device=device)

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


class DecodingStep:
    """The rows that decode together, and what each attends to: its prompt, its answer so far, its own sentence."""

    def __init__(
        self,
        prompts: PromptCache,
        prompt_of_answer: Sequence[int],
        answers: AnswerCache,
        rows: Sequence[tuple[int, int]],
    ) -> None:
        """`rows`: of each row its answer and its group."""
        self.prompts, self.device = prompts, prompts.mask.device
        self.prompt_of_answer, self.rows = list(prompt_of_answer), list(rows)
        self.ids = list(range(len(rows)))
        self.parts = [answers]
        self.home = [(0, answer) for answer, _ in rows]
        """Of each row that ever was: the part that holds its sentence, and its answer's row there."""
        hidden = ~prompts.mask
        self.prompt_mask = (
            torch.zeros(hidden.shape, device=self.device).masked_fill(hidden, -torch.inf)[:, None, None]
            if bool(hidden.any())
            else None
        )
        self.windows: dict[int, _Window] = {}
        """What windows hide from the next token, by their size."""
        self._lay_answers_out()
        self._lay_rows_out()

    @property
    def answers(self) -> AnswerCache:
        """What the rows that still decode write to."""
        return self.parts[-1]

    def _lay_answers_out(self) -> None:
        owners = self.prompt_of_answer
        self.by_prompt = Grid.by_owner(owners, blocks=len(self.prompts.mask), device=self.device)
        self.owners = torch.tensor(owners, device=self.device)
        self.starts = self.prompts.following[self.owners] + self.answers.mask.sum(-1)
        self.tokens_before: int | None = None

    def _lay_rows_out(self) -> None:
        groups = self.answers.groups
        slots = [answer * groups + group for answer, group in self.rows]
        blocks = len(self.prompt_of_answer)
        self.by_answer = Grid(slots, blocks=blocks, width=groups, device=self.device)
        self.answer_of_row = torch.tensor([answer for answer, _ in self.rows], device=self.device)

    def keep(self, going: Sequence[int]) -> None:
        """Go on with these rows only; once half of the answers have none left, they are left where they are."""
        self.rows = [self.rows[row] for row in going]
        self.ids = [self.ids[row] for row in going]
        live = sorted({answer for answer, _ in self.rows})
        if 2 * len(live) <= len(self.prompt_of_answer):
            place = {answer: index for index, answer in enumerate(live)}
            self.parts.append(self.answers.select(live))
            self.prompt_of_answer = [self.prompt_of_answer[answer] for answer in live]
            self.rows = [(place[answer], group) for answer, group in self.rows]
            for row, (answer, _) in zip(self.ids, self.rows, strict=True):
                self.home[row] = (len(self.parts) - 1, answer)
            self._lay_answers_out()
        self._lay_rows_out()

    def begin(self) -> Tensor:
        """Make ready for one more token of each row; return their positions [rows]."""
        self.mask = self.answers.scores_mask(torch.float32)
        self.windows.clear()
        return self.starts[self.answer_of_row] + self.answers.length

    def end(self) -> None:
        """Every layer has attended."""
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
        """Attend from one new token of each row to its prompt, its answer so far and its own sentence.

        Both parts' scores are taken against keys that are stored once for all rows of a prompt, or of an answer; one
        softmax runs over all of them, and the parts' weighted values are added.

        Args:
            layer: counted from 0.
            query: [rows, heads, d]; key, value: [rows, kv_heads, d] of the new token.
            scaling: of the scores.
            window: the tokens that the layer sees, the new one included; None: all.

        Returns:
            [rows, heads, d].
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

    def _hidden_by(self, window: int) -> "_Window | None":
        """Return what a window hides from the next token, or None while every token is in it.

        A window counts tokens, not positions: image tokens that share a position count one by one.
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
            self.windows[window] = _Window(
                (from_prompts >= window)[:, None, None], (own >= window)[:, None, None]
            )
        return self.windows[window]


@dataclass(frozen=True, slots=True)
class _Window:
    """The tokens that are too far away for a layer with a window; True where hidden."""

    prompts: Tensor
    """[N, 1, 1, L]."""
    own: Tensor
    """Of the answers and the sentences, [N, 1, 1, n]."""


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    shared_prefix: DecodingStep | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention under transformers' interface; without a `shared_prefix` it is the ordinary one.

    A layer with a window gives it as `sliding_window`, as flash attention, which gets no mask, needs it too.

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
    """Switch a model's attention to the shared-prefix one; ordinary calls of the model stay what they were."""
    if model.config.get_text_config()._attn_implementation != SHARED_PREFIX:  # noqa: SLF001 - there is no public one
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
    roomy = stored.new_empty(rows, heads, used + _ROOM * groups, size)
    roomy[:, :, :used] = stored
    return roomy
