"""The straightforward decoder that tests and benchmarks compare the fast one with: nothing is kept or shared.

For every sentence it encodes image, prompt and all earlier sentences again, one answer at a time, through
transformers' own `generate`. The penalty of the groups is a logits processor. The sentence end is a stopping
criterion that reads the whole text after every token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from csrdata.policy.loading import Policy
from csrdata.policy.prompting import banned_ids, encode, end_ids, render_prompt
from csrdata.records import Stop
from csrdata.search.sentences import Boundary, boundary, ends_before


@dataclass(frozen=True)
class Continuation:
    """The sentence of one group."""

    tokens: tuple[int, ...]
    logprob: float
    stop: Stop
    text: str
    closest: float
    """Nats: the smallest lead of a chosen token's penalized log-probability over the next best token's."""


@dataclass
class Sentences:
    """The state of each row: complete (and why), or waiting for the token that decides."""

    stops: dict[int, Stop] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)


class Groups(LogitsProcessor):
    """Row g takes the likeliest token, after a penalty for each earlier row that takes the same token at this step."""

    def __init__(
        self, sentences: Sentences, *, penalty: float, banned: Sequence[int], ends: Sequence[int]
    ) -> None:
        self.sentences, self.penalty, self.banned, self.ends = sentences, penalty, list(banned), list(ends)
        self.logprobs: list[Tensor] = []
        self.leads: list[list[float]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' interface
        logprobs = scores.log_softmax(-1)
        self.logprobs.append(logprobs)
        counts = torch.zeros(scores.shape[-1])
        forced = torch.full_like(scores, -torch.inf)
        self.leads.append([])
        for row in range(len(scores)):
            penalised = logprobs[row] - self.penalty * counts
            penalised[self.banned] = -torch.inf
            token = int(penalised.argmax())
            best, second = penalised.topk(2).values.tolist()
            self.leads[-1].append(best - second)
            forced[row, token] = 0.0
            if row not in self.sentences.stops and token not in self.ends:
                counts[token] += 1
        return forced


class Ends(StoppingCriteria):
    """Stops a row at the end of its sentence: it reads the row's whole text after every token."""

    def __init__(
        self,
        sentences: Sentences,
        policy: Policy,
        *,
        start: int,
        before: Sequence[int],
        sentence_limit: int,
        response_limit: int,
        ends: Sequence[int],
    ) -> None:
        self.sentences, self.policy, self.start, self.before = sentences, policy, start, list(before)
        self.sentence_limit, self.response_limit = sentence_limit, response_limit
        self.ends = set(ends)

    def text(self, ids: Sequence[int]) -> str:
        def decode(tokens: Sequence[int]) -> str:
            return str(
                self.policy.tokenizer.decode(
                    list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
            )

        return decode([*self.before, *ids])[len(decode(self.before)) :]

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:  # noqa: ARG002 - the same
        for row, ids in enumerate(input_ids[:, self.start :].tolist()):
            if row not in self.sentences.stops:
                self.look(row, ids)
        return torch.tensor([row in self.sentences.stops for row in range(len(input_ids))])

    def look(self, row: int, ids: list[int]) -> None:
        if row in self.sentences.waiting:
            text = self.sentences.waiting.pop(row)
            following = "" if ids[-1] in self.ends else self.text(ids)[len(text) :]
            if ends_before(text, following):
                return self.stop(row, self.end_of_sentence(ids[:-1]), ids[:-1])
            if limit := self.limit(ids[:-1]):
                return self.stop(row, limit, ids[:-1])
        if ids[-1] in self.ends:
            return self.stop(row, Stop.END, ids)
        text = self.text(ids)
        found = boundary(text)
        if found is Boundary.END:
            return self.stop(row, self.end_of_sentence(ids), ids)
        if found is Boundary.NEXT:
            self.sentences.waiting[row] = text
        elif limit := self.limit(ids):
            self.stop(row, limit, ids)
        return None

    def end_of_sentence(self, ids: Sequence[int]) -> Stop:
        full = len(self.before) + len(ids) >= self.response_limit
        return Stop.RESPONSE_LIMIT if full else Stop.SENTENCE_END

    def limit(self, ids: Sequence[int]) -> Stop | None:
        if len(self.before) + len(ids) >= self.response_limit:
            return Stop.RESPONSE_LIMIT
        return Stop.SENTENCE_LIMIT if len(ids) >= self.sentence_limit else None

    def stop(self, row: int, why: Stop, ids: Sequence[int]) -> None:
        self.sentences.stops[row], self.sentences.lengths[row] = why, len(ids)


def continue_answer(
    policy: Policy,
    image: Image.Image,
    prompt: str,
    before: Sequence[int],
    *,
    groups: int,
    penalty: float,
    sentence_limit: int,
    response_limit: int,
    ends: Sequence[int] | None = None,
    banned: Sequence[int] | None = None,
) -> list[Continuation]:
    """Return each group's sentence after the answer tokens `before`.

    `ends`, `banned`: tokens that end an answer, and tokens never generated; by default the policy's.
    """
    ends = end_ids(policy.model, policy.processor) if ends is None else ends
    banned = banned_ids(policy.model, policy.processor) if banned is None else banned
    inputs = encode(policy.processor, [image], [render_prompt(policy.processor, prompt)])
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(before)], dtype=torch.long)], 1)
    rest = {
        key: value.repeat_interleave(groups, 0)
        for key, value in inputs.items()
        if key not in ("input_ids", "attention_mask")
    }
    sentences = Sentences()
    processor = Groups(sentences, penalty=penalty, banned=banned, ends=ends)
    stopping = Ends(
        sentences,
        policy,
        start=ids.shape[1],
        before=before,
        sentence_limit=sentence_limit,
        response_limit=response_limit,
        ends=ends,
    )
    model: Any = policy.model
    output = model.generate(
        input_ids=ids.repeat_interleave(groups, 0),
        attention_mask=torch.ones_like(ids).repeat_interleave(groups, 0),
        **rest,
        do_sample=False,
        max_new_tokens=sentence_limit + 2,
        eos_token_id=None,
        logits_processor=LogitsProcessorList([processor]),
        stopping_criteria=StoppingCriteriaList([stopping]),
    )
    found = []
    for row, tokens in enumerate(output[:, ids.shape[1] :].tolist()):
        own = tuple(tokens[: sentences.lengths[row]])
        logprob = sum(float(processor.logprobs[step][row, token]) for step, token in enumerate(own))
        # The token that was read after a possible end was a choice too.
        leads = [step[row] for step in processor.leads[: len(own) + 1]]
        found.append(Continuation(own, logprob, sentences.stops[row], stopping.text(own), min(leads)))
    return found
