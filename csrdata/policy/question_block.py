"""Questions behind a shared prefix, all their tokens in one pass.

`SharedPasses` feeds one token to each row. A question's tokens are known beforehand, so `QuestionPasses` feeds them
together: every token is a row of one forward pass. It attends to its prompt, and to the tokens of its question up to itself.
The rows hold no padding. What the pass leaves behind is the cache that the decoding of the answers starts from.

The model is called as for any other step (`csrdata.policy.shared_attention`), so the same families are served.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from csrdata.policy.passes import SharedPasses
from csrdata.policy.prefill import placed
from csrdata.policy.shared_attention import AnswerCache, DecodingStep, PromptCache, Window

BLOCK_TOKENS = 1024
"""Tokens of one pass, at most: their scores against a prompt need memory for tokens x heads x prompt."""
PREFIX_TOKENS = 2400
"""Tokens of the prompts that are encoded together, at most: on a CPU, more at once are slower for each prompt."""
_ROOM = 16
"""Tokens of an answer that the cache has room for at first."""


class QuestionPasses(SharedPasses):
    """Shared passes that start behind questions: `admit_parts` the prefixes, `begin_behind` the questions, then `feed`."""

    def admit_parts(self, parts: Iterable[tuple[Sequence[int], Mapping[str, Tensor]]]) -> None:
        """Admit prompts part by part in the place of all earlier ones, and join their keys and values once.

        Args:
            parts: the numbers and the inputs of some prompts each, as `admit` takes them.
        """
        self.present, self.first_logits, self.step = [], {}, None
        caches: list[PromptCache | None] = []
        for prompts, inputs in parts:
            self.prefix = None
            self.admit(prompts, inputs)
            caches.append(self.prefix)
        self.prefix = _joined([cache for cache in caches if cache is not None])

    @torch.inference_mode()
    def begin_behind(self, prompts: Sequence[int], questions: Sequence[Sequence[int]]) -> Tensor:
        """Start N rows, each behind its prompt and its question; return the logits of each row's next token, [N, V].

        Prompts without a question are dropped. The log-probabilities equal those of feeding the tokens one by one within
        1e-4 in float32. The next call must be `feed` or `keep`; `begin` starts again only with prompts admitted afterwards.

        Args:
            prompts: for each question the number of its prompt, as given to `admit`.
            questions: N lists of one token or more.

        Raises:
            ValueError: a question has no token.
        """
        if not all(questions):
            raise ValueError("a question has no token")
        prefix = self._leave_only(set(prompts))
        self.first_logits = {}
        owners = [self.present.index(prompt) for prompt in prompts]
        blocks, logits = [], []
        for start, end in cuts([len(own) for own in questions], most=BLOCK_TOKENS):
            block = TokenBlock(prefix, owners[start:end], questions[start:end])
            last = torch.tensor([len(own) for own in questions[start:end]]).cumsum(0) - 1
            logits.append(self._feed_block(block, questions[start:end])[last.to(self.model.device)])
            blocks.append(block.answers)
        answers = _as_answers(blocks, [len(own) for own in questions])
        rows = [(index, 0) for index in range(len(questions))]
        self.step, self.groups = DecodingStep(prefix, owners, answers, rows), 1
        return torch.cat(logits)

    def _feed_block(self, block: "TokenBlock", questions: Sequence[Sequence[int]]) -> Tensor:
        """Feed all tokens of some questions, T in all; return the logits behind each, [T, V]."""
        device = self.model.device
        tokens = torch.tensor([token for own in questions for token in own], device=device)
        output = self.model(
            input_ids=tokens[:, None],
            position_ids=placed(block.begin(), self.axes),
            use_cache=False,
            shared_prefix=block,
        )
        return output.logits[:, -1]  # type: ignore[no-any-return]


class TokenBlock(DecodingStep):
    """The tokens of n questions as the rows of one step: group t of answer i is token t of question i.

    A row of `DecodingStep` sees its own group alone. Here it sees the groups before it, too.
    """

    def __init__(
        self, prompts: PromptCache, owners: Sequence[int], questions: Sequence[Sequence[int]]
    ) -> None:
        first, last = min(owners), max(owners) + 1
        own = PromptCache(
            [keys[first:last] for keys in prompts.keys],
            [values[first:last] for values in prompts.values],
            prompts.mask[first:last],
            prompts.following[first:last],
        )
        longest = max(map(len, questions))
        nothing = torch.zeros(len(questions), 0, dtype=torch.bool, device=prompts.mask.device)
        rows = [(index, place) for index, tokens in enumerate(questions) for place in range(len(tokens))]
        super().__init__(own, [owner - first for owner in owners], _Written(nothing, longest), rows)
        self.share = 1
        """Attention heads for each head of keys and values."""

    def begin(self) -> Tensor:
        """Prepare the pass; return the position of each row."""
        groups = self.answers.groups
        seen = torch.ones(groups, groups, dtype=torch.bool, device=self.device).tril()
        self.mask = torch.zeros(seen.shape, device=self.device).masked_fill(~seen, -torch.inf)[None, None]
        places = torch.tensor([place for _, place in self.rows], device=self.device)
        return self.starts[self.answer_of_row] + places

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
        """Attend from each token to its prompt and to its question up to itself; see `DecodingStep.attend`."""
        self.share = query.shape[1] // key.shape[1]
        return super().attend(layer, query, key, value, scaling, window=window)

    def _hidden_by(self, window: int) -> Window | None:
        """Return the tokens that a window hides from each token of a question, or None if it hides none."""
        groups, length = self.answers.groups, self.prompts.mask.shape[1]
        if length + groups <= window:
            return None
        places = torch.arange(groups, device=self.device).repeat_interleave(self.share)[:, None]
        # The distance of each token from the row's; prompts end in the last slot.
        from_prompts = length - torch.arange(length, device=self.device) + places
        own = places - torch.arange(groups, device=self.device)
        return Window((from_prompts >= window)[None, None], (own >= window)[None, None])


class _Written(AnswerCache):
    """The keys and values of one pass, without room for more tokens."""

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's keys and values, [n, kv_heads, groups, d] each, and return them."""
        if layer != len(self.keys):
            raise ValueError(f"layer {layer} attended out of turn")
        self.keys.append(key)
        self.values.append(value)
        return key, value


def image_shape(inputs: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what tells the image inputs of two prompts apart: shapes, and the numbers that say how an image is laid out.

    Images of many sizes have one shape where the processor scales them to one, as LLaVA-1.5's does.

    Args:
        inputs: the processor's output for one prompt.
    """
    along = inputs["input_ids"].shape
    return tuple(
        (name, tuple(value.shape), None if value.is_floating_point() else tuple(value.flatten().tolist()))
        for name, value in sorted(inputs.items())
        if isinstance(value, Tensor) and value.shape[:2] != along
    )


def cuts(lengths: Sequence[int], *, most: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of runs whose lengths sum to at most `most`; a longer one is a run by itself.

    Example: lengths 2 3 4 9, most 5 -> (0, 2) (2, 3) (3, 4)
    """
    start, total = 0, 0
    for index, length in enumerate(lengths):
        if index > start and total + length > most:
            yield start, index
            start, total = index, 0
        total += length
    yield start, len(lengths)


def _as_answers(blocks: Sequence[AnswerCache], lengths: Sequence[int]) -> AnswerCache:
    """Return the questions as answers so far, [N, kv_heads, longest + room, d], padded on the right; empties the blocks."""
    longest = max(lengths)
    device = blocks[0].mask.device
    mask = torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None]
    found = AnswerCache(mask, 1)
    for stores, into in (
        ([block.keys for block in blocks], found.keys),
        ([block.values for block in blocks], found.values),
    ):
        for _ in range(len(stores[0])):
            layer = [store.pop(0) for store in stores]
            # Zeros, not uninitialised memory: a masked slot counts 0 times its value.
            into.append(torch.cat([F.pad(one, (0, 0, 0, longest + _ROOM - one.shape[2])) for one in layer]))
    return found


def _joined(parts: Sequence[PromptCache]) -> PromptCache | None:
    """Return the prompts of all parts in one cache, padded on the left; empties the parts, so that memory stays low."""
    if len(parts) < 2:
        return parts[0] if parts else None
    longest = max(part.mask.shape[1] for part in parts)

    def cat(stores: Sequence[list[Tensor]]) -> list[Tensor]:
        joined = []
        for _ in range(len(stores[0])):
            layer = [store.pop(0) for store in stores]
            joined.append(torch.cat([F.pad(one, (0, 0, longest - one.shape[2], 0)) for one in layer]))
        return joined

    return PromptCache(
        cat([part.keys for part in parts]),
        cat([part.values for part in parts]),
        torch.cat([F.pad(part.mask, (longest - part.mask.shape[1], 0)) for part in parts]),
        torch.cat([part.following for part in parts]),
    )
