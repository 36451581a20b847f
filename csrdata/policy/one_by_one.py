"""The passes for models that cannot share a prefix: each prompt alone, each answer in its own cache or in none.

`CachedPasses` encodes image, prompt and answer once per sentence and feeds the sentence's tokens to the model's own
cache, whatever that keeps: sliding windows, cross-attention, a recurrent state. `PlainPasses` keeps nothing and encodes
everything again for every token. It defines what every other path must give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from csrdata.policy.passes import Node
from csrdata.policy.prefill import extended, placed, prefill

_PLAIN_ROWS = 8
"""Rows per plain pass: its attention needs memory for rows x tokens x tokens."""


class CachedPasses:
    """Each sentence encodes image, prompt and answer once; its rows go on in copies of the model's own cache."""

    together = False

    def __init__(self, model: PreTrainedModel) -> None:
        """Accept any model whose cache can be repeated and that keeps nothing outside of it."""
        self.model = model
        self.inputs: dict[int, Mapping[str, Tensor]] = {}
        self.sentences: list[_Sentences] = []

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Keep the inputs of one prompt."""
        (prompt,) = prompts
        self.inputs[prompt] = inputs

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Encode each answer so far, and copy its cache for the sentences that continue it."""
        self.sentences = []
        alive = {node.prompt for node in nodes}
        self.inputs = {prompt: inputs for prompt, inputs in self.inputs.items() if prompt in alive}
        return torch.cat([self._encode(node, groups) for node in nodes])

    def keep(self, going: Sequence[int]) -> None:
        """Drop the caches of the other rows."""
        start = 0
        for sentences in self.sentences:
            end = start + sentences.rows
            sentences.keep([row - start for row in going if start <= row < end])
            start = end
        self.sentences = [sentences for sentences in self.sentences if sentences.rows]

    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row."""
        logits, start = [], 0
        for sentences in self.sentences:
            end = start + sentences.rows
            logits.append(self._feed(sentences, tokens[start:end]))
            start = end
        return torch.cat(logits)

    @torch.inference_mode()
    def _encode(self, node: Node, groups: int) -> Tensor:
        inputs = extended(self.model, self.inputs[node.prompt], node.tokens)
        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        first = prefill(self.model, inputs, cache)
        cache.batch_repeat_interleave(groups)
        self.sentences.append(_Sentences(cache, inputs, int(first.following), first.axes, groups))
        return first.logits

    @torch.inference_mode()
    def _feed(self, sentences: "_Sentences", tokens: Sequence[int]) -> Tensor:
        # What runs along the prompt is the same for all rows, which have the same length; only the new token differs.
        sentences.inputs = extended(self.model, sentences.inputs, tokens[:1])
        rest = {name: value for name, value in sentences.inputs.items() if name != "input_ids"}
        model: Any = self.model
        step = model.prepare_inputs_for_generation(
            sentences.inputs["input_ids"],
            next_sequence_length=1,
            past_key_values=sentences.cache,
            use_cache=True,
            is_first_iteration=False,
            logits_to_keep=1,
            **rest,
        )
        for name, value in step.items():
            if isinstance(value, Tensor) and len(value) == 1:
                step[name] = value.expand(len(tokens), *value.shape[1:])
        device = self.model.device
        step["input_ids"] = torch.tensor(tokens, device=device)[:, None]
        positions = torch.full([len(tokens)], sentences.following, device=device)
        step["position_ids"] = placed(positions, sentences.axes)
        logits: Tensor = self.model(**step).logits[:, -1]
        sentences.following += 1
        return logits


@dataclass(slots=True)
class _Sentences:
    """The sentences that continue one answer, all of one length."""

    cache: Cache
    """Of the rows that go on."""
    inputs: Mapping[str, Any]
    """Of one row: prompt, answer and sentence."""
    following: int
    """The position of the next token."""
    axes: int | None
    rows: int

    def keep(self, going: Sequence[int]) -> None:
        if len(going) < self.rows:
            self.rows = len(going)
            if going:
                self.cache.batch_select_indices(torch.tensor(going))


class PlainPasses:
    """Encodes image, prompt and answer again in every pass: slow, but correct for any model."""

    together = False

    def __init__(self, model: PreTrainedModel) -> None:
        """Accept any image-text-to-text model of transformers."""
        self.model = model
        self.inputs: dict[int, Mapping[str, Tensor]] = {}
        self.rows: list[tuple[int, tuple[int, ...]]] = []

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Keep the inputs of one prompt."""
        (prompt,) = prompts
        self.inputs[prompt] = inputs

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Encode each answer; see `Passes.begin`."""
        alive = {node.prompt for node in nodes}
        self.inputs = {prompt: inputs for prompt, inputs in self.inputs.items() if prompt in alive}
        answers = [(node.prompt, node.tokens) for node in nodes]
        self.rows = [answer for answer in answers for _ in range(groups)]
        return self._logits(answers)

    def keep(self, going: Sequence[int]) -> None:
        """Continue these rows and drop the others."""
        self.rows = [self.rows[row] for row in going]

    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Encode each row with its new token."""
        self.rows = [(prompt, (*own, token)) for (prompt, own), token in zip(self.rows, tokens, strict=True)]
        return self._logits(self.rows)

    def _logits(self, rows: Sequence[tuple[int, tuple[int, ...]]]) -> Tensor:
        by_row: dict[int, Tensor] = {}
        for prompt, inputs in self.inputs.items():
            own_rows = [index for index, (owner, _) in enumerate(rows) if owner == prompt]
            for start in range(0, len(own_rows), _PLAIN_ROWS):
                chunk = own_rows[start : start + _PLAIN_ROWS]
                logits = plain_logits(self.model, inputs, [rows[index][1] for index in chunk])
                by_row |= dict(zip(chunk, logits, strict=True))
        return torch.stack([by_row[index] for index in range(len(rows))])


@torch.inference_mode()
def plain_logits(
    model: PreTrainedModel, inputs: Mapping[str, Tensor], answers: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return the next-token logits [N, V] of N answers to one prompt, from one forward pass.

    Args:
        model: any image-text-to-text model.
        inputs: the processor's output for one prompt: `input_ids` and `attention_mask` [1, L].
        answers: the N answers' tokens so far; an answer may be empty.
    """
    lengths = [len(own) for own in answers]
    longest, shortest = max(lengths), min(lengths)
    prompt = inputs["input_ids"].shape[1]
    room = extended(model, inputs, [int(inputs["input_ids"][0, -1])] * longest)
    # Images may come one per row or one behind the other: either way N prompts have the inputs of one, N times.
    rows = {
        name: value.repeat(len(answers), *[1] * (value.dim() - 1)) if isinstance(value, Tensor) else value
        for name, value in room.items()
    }
    for row, own in enumerate(answers):
        if own:
            rows["input_ids"][row, prompt : prompt + len(own)] = torch.tensor(own, device=model.device)
        rows["attention_mask"][row, prompt + len(own) :] = 0
    kept = longest - shortest + 1
    logits: Tensor = model(**rows, use_cache=False, logits_to_keep=kept).logits[:, -kept:]
    return logits[range(len(answers)), [length - shortest for length in lengths]]
