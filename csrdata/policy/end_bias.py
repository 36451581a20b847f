"""Greedy answers at every bias on the end of an answer, from one decoding of each question.

A bias of b nats is added to the logit of every token that ends an answer: below 0 the answers get longer, above 0 shorter.
At step t let n be the best token that does not end the answer, e the best token that ends it, and

    gap(t) = logit(e) - logit(n)

A bias moves all end tokens by the same amount, so n and e do not depend on it. Greedy decoding takes n as long as
gap(t) + b < 0, and ends with e at the first step where gap(t) + b > 0. By induction, the answers at all biases have the same
tokens up to their ends: each of them is a beginning of one *path*, the greedy answer in which no end is ever chosen. One
decoding of the path therefore gives the answer at every bias, with the same tokens as a decoding of its own. At a tie,
gap(t) + b = 0, the token with the lower id is chosen, as `argmax` does.

The path is decoded as far as the answer at the lowest bias goes. Until every question of a batch has its end at a bias of
0, the passes have the shapes of `answer` with the same batch, so that the answers at 0 are those of `answer`, bit for bit.
After that, questions whose path is complete are left out of the batch whenever they are half of it: the last bits of the
logits may then differ from those of a larger batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from csrdata.images import ImageRoot
from csrdata.policy.answering import Reply, batches, encode_questions, greedy_settings, rendered_prompts
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import answer_text, end_ids, with_answers
from csrdata.progress import progress as bar_of
from csrdata.records import Question


@dataclass(frozen=True, slots=True)
class AnswerPath:
    """The greedy answer to a question in which no end was chosen, and where each bias ends it."""

    token_ids: tuple[int, ...]
    """At each step, the best token that does not end the answer."""
    end_ids: tuple[int, ...]
    """At each step, the best token that ends it."""
    gaps: tuple[float, ...]
    """At each step, the logit of the end token minus that of the other, nats."""
    lowest: float
    """The lowest bias for which the path is long enough, nats."""

    def end(self, bias: float) -> int | None:
        """Return the step at which a bias (nats) ends the answer, from 0; None if the token limit cuts it.

        Raises:
            ValueError: the bias is below `lowest`.
        """
        if bias < self.lowest:
            raise ValueError(f"a bias of {bias}: the path was decoded for {self.lowest} or more")
        steps = zip(self.gaps, self.end_ids, self.token_ids, strict=True)
        return next(
            (step for step, (gap, end, token) in enumerate(steps) if _ends(gap + bias, end, token)), None
        )

    def tokens(self, end: int | None) -> tuple[int, ...]:
        """Return the generated tokens of an answer that ends at a step, the end token included."""
        return self.token_ids if end is None else (*self.token_ids[:end], self.end_ids[end])


def _ends(gap: float, end: int, token: int) -> bool:
    return gap > 0 or (gap == 0 and end < token)


@torch.inference_mode()
def answer_paths(
    policy: Policy,
    questions: Sequence[Question],
    *,
    root: Path | ImageRoot,
    lowest: float,
    max_new_tokens: int,
    batch_size: int,
    title: str = "paths",
    progress: bool = True,
) -> list[AnswerPath]:
    """Decode the path of each question; return them in the order of the questions.

    Args:
        policy: the policy that answers.
        questions: descriptions, or any other questions.
        root: the folder that image paths are relative to.
        lowest: the lowest bias to be read off the paths, nats, at most 0; the lower, the longer the paths.
        max_new_tokens: limit on the tokens of one answer, end-of-sequence included.
        batch_size: questions in one batch.
        title: label of the progress bar.
        progress: show the progress bar.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty or contains a special token.
    """
    if lowest > 0:
        raise ValueError(
            f"lowest is {lowest}, expected 0 or less: the answers at 0 are among those asked for"
        )
    prompts = rendered_prompts(policy, questions)
    paths: dict[int, AnswerPath] = {}
    with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
        for batch in batches([len(prompt) for prompt in prompts], batch_size):
            found = _decode(
                policy,
                [questions[index] for index in batch],
                [prompts[index] for index in batch],
                root=root,
                lowest=lowest,
                limit=max_new_tokens,
            )
            paths.update(zip(batch, found, strict=True))
            bar.update(len(batch))
    return [paths[index] for index in range(len(questions))]


def replies_at(policy: Policy, path: AnswerPath, biases: Sequence[float]) -> list[Reply]:
    """Return the answer at each bias (nats); equal answers are decoded to text once."""
    found: dict[int | None, Reply] = {}
    ends = [path.end(bias) for bias in biases]
    for end in ends:
        if end not in found:
            kept = path.tokens(end)
            found[end] = Reply(answer_text(policy.processor, kept), kept, finished=end is not None)
    return [found[end] for end in ends]


def _decode(
    policy: Policy,
    questions: Sequence[Question],
    prompts: Sequence[str],
    *,
    root: Path | ImageRoot,
    lowest: float,
    limit: int,
) -> list[AnswerPath]:
    """Return the paths of one batch, in rounds: after each of them the questions whose paths are complete are left out."""
    ends = end_ids(policy.model, policy.processor)
    paths = [AnswerPath((), (), (), lowest) for _ in questions]
    going = list(range(len(paths)))
    decoded = 0
    while going and decoded < limit:
        inputs: dict[str, Any] = dict(
            encode_questions(policy, [questions[row] for row in going], [prompts[row] for row in going], root)
        )
        if decoded:
            before = torch.tensor([paths[row].token_ids for row in going], device=policy.device)
            image_token = policy.model.config.image_token_id
            inputs = with_answers(inputs, before, torch.ones_like(before), image_token=image_token)
        watch = _Watch(ends, lowest=lowest, until_zero=not decoded)
        generated = policy.model.generate(  # type: ignore[operator]
            **inputs,
            generation_config=greedy_settings(policy, max_new_tokens=limit - decoded),
            logits_processor=LogitsProcessorList([watch]),
            stopping_criteria=StoppingCriteriaList([_Stop(watch)]),
        )[:, inputs["input_ids"].shape[1] :]
        for row, *more in zip(going, generated.tolist(), *watch.seen(generated.shape[1]), strict=True):
            paths[row] = _longer(paths[row], *more)
        decoded += generated.shape[1]
        going = [row for row in going if paths[row].end(lowest) is None]
    return [_shortened(path) for path in paths]


def _longer(
    path: AnswerPath, token_ids: Sequence[int], end_ids: Sequence[int], gaps: Sequence[float]
) -> AnswerPath:
    return AnswerPath(
        (*path.token_ids, *token_ids), (*path.end_ids, *end_ids), (*path.gaps, *gaps), path.lowest
    )


def _shortened(path: AnswerPath) -> AnswerPath:
    """Return a path without what was decoded after its end at the lowest bias."""
    end = path.end(path.lowest)
    steps = len(path.token_ids) if end is None else end + 1
    return AnswerPath(path.token_ids[:steps], path.end_ids[:steps], path.gaps[:steps], path.lowest)


class _Watch(LogitsProcessor):
    """Forbids the end, and records at each step how near it was."""

    def __init__(self, ends: Sequence[int], *, lowest: float, until_zero: bool) -> None:
        """Watch a decoding.

        Args:
            ends: the tokens that end an answer, ascending.
            lowest: the lowest bias, nats.
            until_zero: go on until every answer has its end at a bias of 0, whatever else is complete.
        """
        self.tokens, self.lowest, self.until_zero = tuple(ends), lowest, until_zero
        self.gaps: list[Tensor] = []
        """For each step, [B], float64: the difference of two float32 numbers is exact."""
        self.ends: list[Tensor] = []
        """For each step, the best end token, [B]."""
        self.going: Tensor | None = None
        """Whether the answer at the lowest bias goes on, [B]."""
        self.going_at_zero: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' signature
        """Return the scores [B, V] with those of the end tokens at minus infinity."""
        ends = torch.tensor(self.tokens, device=scores.device)
        best = scores[:, ends].max(-1)
        others = scores.index_fill(-1, ends, -math.inf)
        other = others.max(-1)
        gap, end = best.values.double() - other.values.double(), ends[best.indices]
        self.gaps.append(gap)
        self.ends.append(end)
        first = end < other.indices
        self.going = self._goes_on(self.going, gap + self.lowest, first)
        self.going_at_zero = self._goes_on(self.going_at_zero, gap, first)
        return others

    def seen(self, steps: int) -> tuple[list[list[int]], list[list[float]]]:
        """Return the end tokens and the gaps of the first steps, a list per row: a deferred stop sees one step more."""
        return torch.stack(self.ends[:steps], 1).tolist(), torch.stack(self.gaps[:steps], 1).tolist()

    def stops(self) -> bool:
        """Return whether the batch should be decoded no further as it is."""
        if self.going is None or self.going_at_zero is None:
            return False
        enough = bool(2 * self.going.sum() <= len(self.going))
        return enough and not (self.until_zero and bool(self.going_at_zero.any()))

    @staticmethod
    def _goes_on(before: Tensor | None, gap: Tensor, first: Tensor) -> Tensor:
        on = ~((gap > 0) | ((gap == 0) & first))
        return on if before is None else before & on


class _Stop(StoppingCriteria):
    """Stops all rows of a batch together."""

    def __init__(self, watch: _Watch) -> None:
        self.watch = watch

    def __call__(self, input_ids: Tensor, scores: Any, **_: object) -> Tensor:  # noqa: ARG002 - transformers' signature
        """Return whether each row is done, [B]."""
        return torch.full((len(input_ids),), self.watch.stops(), device=input_ids.device)
