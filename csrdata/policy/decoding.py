"""Batched diverse group decoding of sentences over a shared image-and-prompt prefix.

Each prompt is encoded once, image included, and its keys and values are kept once; all rows of all its live answers
attend to that one prefix and to their own short suffix (shared-prefix attention as in Hydragen, arXiv 2402.05099). The
attention enters through transformers' attention interface, so that any model that uses it can be decoded this way.

Diverse group decoding (group size 1, arXiv 1610.02424): for every live answer `groups` rows decode greedily and in order;
row g loses `diversity_penalty` nats on a token for each earlier row of the same answer that takes it at this step. The
penalty never falls on end-of-sequence, and never enters a sentence's log-probability.

No third-party package but torch and transformers; the search (`csrdata.search.beam`) knows none of this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from csrdata.records import Stop
from csrdata.search.beam import Branch, Proposal
from csrdata.search.sentences import TERMINATORS, Boundary, boundary, ends_before

SHARED_PREFIX = "csrdata_shared_prefix"
"""The attention's name in transformers' interface."""


class SentenceDecoder:
    """Continues answers to a batch of prompts by one sentence at a time: the search's `Propose`.

    A `Proposal.state` is a row of the layer that proposed it, so that the branches given to `propose` must come from
    the layer before. A decoder serves one batch; make another for the next.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: Mapping[str, Tensor],
        *,
        groups: int,
        diversity_penalty: float,
        max_sentence_tokens: int,
        max_response_tokens: int,
        end_ids: Sequence[int],
        banned_ids: Sequence[int],
    ) -> None:
        """Encode the prompts.

        Args:
            model: any image-text-to-text model of transformers that uses the attention interface.
            tokenizer: its tokenizer; sentence ends are found in the text that it decodes.
            inputs: the processor's output for the prompts: `input_ids` and `attention_mask` [P, L], padded on the left,
                and whatever the model wants for the images.
            groups: rows for each live answer.
            diversity_penalty: nats, >= 0.
            max_sentence_tokens: tokens of one sentence.
            max_response_tokens: tokens of a whole answer.
            end_ids: the tokens that end an answer.
            banned_ids: tokens that are never generated: the image placeholder, padding, beginning-of-sequence.
        """
        use_shared_prefix(model)
        self.model, self.tokenizer = model, tokenizer
        self.groups, self.diversity_penalty = groups, diversity_penalty
        self.max_sentence_tokens, self.max_response_tokens = max_sentence_tokens, max_response_tokens
        self.end_ids, self.banned_ids = sorted(end_ids), sorted(set(banned_ids) - set(end_ids))
        self.may_close = _may_close(tokenizer, model.config.get_text_config().vocab_size)
        self.prefix, self.prompt_logits = _prefill(model, inputs)
        self.layer: _Layer | None = None

    @torch.inference_mode()
    def propose(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        """Return `groups` candidate sentences for each live answer, in the order of the groups."""
        nodes, logits = self._branch(branches)
        rows = [
            _Row(node=index, group=group, before=nodes.ids[index])
            for index in range(len(branches))
            for group in range(self.groups)
        ]
        suffix = nodes.suffix.select([row.node for row in rows])
        prompts = torch.tensor([branch.prompt for branch in branches]).repeat_interleave(self.groups)
        logits = logits.repeat_interleave(self.groups, 0)
        active = list(range(len(rows)))
        step = _Step(self.prefix, suffix, prompts, active)
        while True:
            tokens, logprobs = self._choose(logits, [rows[index] for index in active])
            going = [
                position
                for position, (index, token, logprob) in enumerate(zip(active, tokens, logprobs, strict=True))
                if not self._take(rows[index], token, logprob)
            ]
            if not going:
                break
            if len(going) < len(active):
                active = [active[position] for position in going]
                step = _Step(self.prefix, suffix, prompts, active)
            logits = self._forward([tokens[position] for position in going], step)
        self.layer = _Layer(suffix, [row.before + row.ids for row in rows])
        return [
            [self._proposal(rows[index], index) for index in range(start, start + self.groups)]
            for start in range(0, len(rows), self.groups)
        ]

    def _branch(self, branches: Sequence[Branch]) -> "tuple[_Layer, Tensor]":
        """Return the live answers' suffixes and tokens, and the logits [branches, V] of their next token."""
        device = self.prompt_logits.device
        if self.layer is None:
            fresh = _Layer(Suffix.empty(len(branches), device), [() for _ in branches])
            return fresh, self.prompt_logits[[branch.prompt for branch in branches]]
        states = [int(branch.state) for branch in branches]  # type: ignore[call-overload]
        ids = [self.layer.ids[state] for state in states]
        suffix = self.layer.suffix.select(states)
        suffix.lengths = torch.tensor([len(own) - 1 for own in ids], device=device)
        prompts = torch.tensor([branch.prompt for branch in branches])
        step = _Step(self.prefix, suffix, prompts, list(range(len(branches))))
        return _Layer(suffix, ids), self._forward([own[-1] for own in ids], step)

    def _forward(self, tokens: Sequence[int], step: "_Step") -> Tensor:
        """Feed one token to each of the step's rows and return the next token's logits [rows, V]."""
        output = self.model(
            input_ids=torch.tensor(tokens, device=self.prompt_logits.device)[:, None],
            position_ids=step.positions()[:, None],
            use_cache=False,
            shared_prefix=step,
        )
        step.advance()
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _choose(self, logits: Tensor, rows: "Sequence[_Row]") -> tuple[list[int], list[float]]:
        """Return each row's next token and its natural-log probability, without the penalty.

        The rows of one group are chosen together for all answers; a group sees the tokens of the groups before it.
        """
        logprobs = logits.float().log_softmax(-1)
        allowed = logprobs.clone()
        allowed[:, self.banned_ids] = -torch.inf
        nodes = torch.tensor([row.node for row in rows], device=logits.device)
        groups = torch.tensor([row.group for row in rows], device=logits.device)
        _, nodes = torch.unique(nodes, return_inverse=True)
        taken = logprobs.new_zeros(int(nodes.max()) + 1, logprobs.shape[-1])
        tokens = nodes.new_zeros(len(rows))
        for group in range(self.groups):
            mine = (groups == group).nonzero()[:, 0]
            penalised = allowed[mine] - self.diversity_penalty * taken[nodes[mine]]
            chosen = penalised.argmax(-1)
            tokens[mine] = chosen
            taken[nodes[mine], chosen] += 1
            taken[:, self.end_ids] = 0
        return tokens.tolist(), logprobs.gather(-1, tokens[:, None])[:, 0].tolist()

    def _take(self, row: "_Row", token: int, logprob: float) -> bool:
        """Add a token to a row; return whether its sentence is complete."""
        if row.waiting:
            # The sentence ended here only if what follows says so; the token looked at is not part of it.
            following = "" if token in self.end_ids else self._text(row, token)[len(row.text) :]
            if ends_before(row.text, following):
                return row.finish(Stop.SENTENCE_END)
            row.waiting = False
            if limit := self._limit(row):
                return row.finish(limit)
        row.ids += (token,)
        row.logprob += logprob
        if token in self.end_ids:
            row.text = self._text(row)
            return row.finish(Stop.END)
        if token in self.may_close:
            row.text = self._text(row)
            found = boundary(row.text)
            if found is Boundary.END:
                return row.finish(Stop.SENTENCE_END)
            row.waiting = found is Boundary.NEXT
        if not row.waiting and (limit := self._limit(row)):
            row.text = self._text(row)
            return row.finish(limit)
        return False

    def _limit(self, row: "_Row") -> Stop | None:
        if len(row.before) + len(row.ids) >= self.max_response_tokens:
            return Stop.RESPONSE_LIMIT
        return Stop.SENTENCE_LIMIT if len(row.ids) >= self.max_sentence_tokens else None

    def _text(self, row: "_Row", *more: int) -> str:
        """The row's own text: what its tokens add to the text of the answer before it."""
        before = self._decode(row.before)
        return self._decode(row.before + row.ids + more)[len(before) :]

    def _decode(self, ids: tuple[int, ...]) -> str:
        if not ids:
            return ""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)  # type: ignore[return-value]

    def _proposal(self, row: "_Row", index: int) -> Proposal:
        return Proposal(row.group, row.text, row.ids, row.logprob, row.stop, index)


@dataclass(slots=True)
class _Row:
    """One sentence being decoded."""

    node: int
    group: int
    before: tuple[int, ...]
    """The tokens of the answer before this sentence."""
    ids: tuple[int, ...] = ()
    logprob: float = 0.0
    text: str = ""
    waiting: bool = False
    """The text may end a sentence here: the next token tells."""
    stop: Stop = Stop.SENTENCE_END

    def finish(self, stop: Stop) -> bool:
        self.stop = stop
        return True


@dataclass(slots=True)
class _Layer:
    """The rows of a finished layer: what the next one branches from."""

    suffix: "Suffix"
    ids: list[tuple[int, ...]]
    """Each row's tokens of the whole answer so far."""


@dataclass(slots=True)
class Prefix:
    """The prompts' keys and values, once a prompt."""

    keys: list[Tensor]
    """A layer each: [P, kv_heads, L, d]."""
    values: list[Tensor]
    mask: Tensor
    """[P, L], True where there is a token; padding stands on the left."""

    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])


@dataclass(slots=True)
class Suffix:
    """The rows' own keys and values: room for more tokens than there are, so that no step copies the past."""

    lengths: Tensor
    """[R]: tokens of each row whose keys and values are stored."""
    keys: list[Tensor] = field(default_factory=list)
    """A layer each: [R, kv_heads, capacity, d]."""
    values: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> "Suffix":
        return cls(torch.zeros(rows, dtype=torch.long, device=device))

    def select(self, rows: Sequence[int]) -> "Suffix":
        """Return a copy of these rows, in this order; a row may come more than once."""
        return Suffix(
            self.lengths[list(rows)],
            [keys[list(rows)] for keys in self.keys],
            [values[list(rows)] for values in self.values],
        )

    def write(self, layer: int, rows: Tensor, positions: Tensor, key: Tensor, value: Tensor) -> None:
        """Store one token's keys and values [rows, kv_heads, d] at each row's position; grow in steps of 32 tokens."""
        needed = int(positions.max()) + 1
        if layer == len(self.keys):
            shape = (len(self.lengths), key.shape[1], _padded(needed), key.shape[2])
            self.keys.append(key.new_zeros(shape))
            self.values.append(value.new_zeros(shape))
        elif needed > self.keys[layer].shape[2]:
            more = (0, 0, 0, _padded(needed) - self.keys[layer].shape[2])
            self.keys[layer] = torch.nn.functional.pad(self.keys[layer], more)
            self.values[layer] = torch.nn.functional.pad(self.values[layer], more)
        self.keys[layer][rows, :, positions] = key
        self.values[layer][rows, :, positions] = value


class _Step:
    """The rows that decode together until one of them stops, and where their keys and values lie.

    For the prefix, rows of one prompt are laid side by side in a grid [prompts, most rows of a prompt]: one matrix
    product reads a prompt's keys once for all its rows.
    """

    def __init__(self, prefix: Prefix, suffix: Suffix, prompts: Tensor, active: Sequence[int]) -> None:
        device = prefix.mask.device
        self.suffix = suffix
        self.rows = torch.tensor(active, device=device)
        self.all_rows = len(active) == len(suffix.lengths)
        present, prompt_of_row, counts = torch.unique(
            prompts[list(active)], return_inverse=True, return_counts=True
        )
        first = counts.cumsum(0) - counts
        order = prompt_of_row.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order)) - first[prompt_of_row[order]]
        self.width = int(counts.max())
        self.slots = (prompt_of_row * self.width + rank).to(device)
        self.grid = len(present) * self.width
        self.present = None if len(present) == len(prefix.mask) else present.to(device)
        mask = prefix.mask if self.present is None else prefix.mask[self.present]
        self.prefix, self.prefix_mask = prefix, mask
        self.starts = mask.sum(-1)[prompt_of_row.to(device)]

    def positions(self) -> Tensor:
        """Positions [rows] of the tokens that are fed next, counted from the prompt's first token."""
        return self.starts + self.suffix.lengths[self.rows]

    def advance(self) -> None:
        """One token was stored for each row."""
        self.suffix.lengths[self.rows] += 1

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attend from one new token of each row to the prompt and to the row's own tokens.

        Args:
            query: [rows, heads, d]; key, value: [rows, kv_heads, d] of the new token.

        Returns:
            [rows, heads, d].
        """
        rows, heads, size = query.shape
        kv_heads = key.shape[1]
        share = heads // kv_heads
        lengths = self.suffix.lengths[self.rows]
        self.suffix.write(layer, self.rows, lengths, key, value)
        longest = int(lengths.max()) + 1
        own_keys, own_values = (
            self.suffix.keys[layer][:, :, :longest],
            self.suffix.values[layer][:, :, :longest],
        )
        if not self.all_rows:
            own_keys, own_values = own_keys[self.rows], own_values[self.rows]
        keys, values = self.prefix.keys[layer], self.prefix.values[layer]
        if self.present is not None:
            keys, values = keys[self.present], values[self.present]
        prompts = len(keys)

        # Scores against the prompt, on the grid [prompts, kv_heads, width * share, L]; then back to one row a line.
        grid = query.new_zeros(self.grid, kv_heads, share, size)
        grid[self.slots] = query.view(rows, kv_heads, share, size)
        grid = grid.view(prompts, self.width, kv_heads, share, size).transpose(1, 2)
        grid = grid.reshape(prompts, kv_heads, self.width * share, size)
        scores = (grid @ keys.transpose(-1, -2)) * scaling
        scores = scores.masked_fill(~self.prefix_mask[:, None, None], -torch.inf)
        far = scores.float().logsumexp(-1, keepdim=True)
        seen = (scores.float() - far).exp().to(values.dtype) @ values
        seen, far = self._rows(seen, kv_heads, share), self._rows(far, kv_heads, share)

        # Scores against the row's own tokens, and the two parts merged by their log-sum-exp.
        scores = (query.view(rows, kv_heads, share, size) @ own_keys.transpose(-1, -2)) * scaling
        beyond = torch.arange(longest, device=lengths.device) > lengths[:, None]
        scores = scores.masked_fill(beyond[:, None, None], -torch.inf)
        near = scores.float().logsumexp(-1, keepdim=True)
        own = (scores.float() - near).exp().to(own_values.dtype) @ own_values
        weight = torch.sigmoid(near - far).to(own.dtype)
        return torch.lerp(seen, own, weight).reshape(rows, heads, size)

    def _rows(self, grid: Tensor, kv_heads: int, share: int) -> Tensor:
        """[prompts, kv_heads, width * share, n] -> [rows, kv_heads, share, n]."""
        prompts, size = grid.shape[0], grid.shape[-1]
        grid = grid.view(prompts, kv_heads, self.width, share, size).transpose(1, 2)
        return grid.reshape(self.grid, kv_heads, share, size)[self.slots]


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    shared_prefix: _Step | None = None,
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


@torch.inference_mode()
def _prefill(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[Prefix, Tensor]:
    """Encode images and prompts once; return their keys and values and the first token's logits [P, V]."""
    mask = inputs["attention_mask"]
    cache = DynamicCache(config=model.config.get_text_config())
    output = model(
        **inputs,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    layers: list[Any] = list(cache.layers)
    prefix = Prefix([layer.keys for layer in layers], [layer.values for layer in layers], mask.bool())
    return prefix, output.logits[:, -1]


def _may_close(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> frozenset[int]:
    """The tokens after which a sentence may have ended: those with a terminator, or with a part of a character."""
    texts = tokenizer.batch_decode(
        [[index] for index in range(vocabulary)], clean_up_tokenization_spaces=False
    )
    return frozenset(
        index
        for index, text in enumerate(texts)
        if "\N{REPLACEMENT CHARACTER}" in text or set(text) & TERMINATORS
    )


def _padded(tokens: int) -> int:
    return -(-tokens // 32) * 32
