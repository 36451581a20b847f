"""A policy's answers to the evaluation questions, as `Answer` records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import overload

from PIL.Image import Image

from csrdata.evaluation.pope import ANSWER_TOKENS
from csrdata.images import ImageRoot, load_image
from csrdata.policy.answering import Reply, answer, completion_logprobs
from csrdata.policy.loading import Policy
from csrdata.records import Answer, Kind, Question
from csrdata.relevance.base import Scorer
from csrdata.search.sentences import split


def evaluation_answers(
    policy: Policy,
    base: Callable[[], Policy],
    scorers: tuple[Scorer, Scorer | None],
    questions: Sequence[Question],
    *,
    root: Path | ImageRoot,
    max_new_tokens: int,
    batch_size: int,
    search: Callable[[Sequence[Question]], Mapping[str, Reply]] | None = None,
    progress: bool = True,
) -> list[Answer]:
    """Answer every question; return the answers in the order of the questions.

    Args:
        policy: the policy that answers.
        base: returns the policy that gives the descriptions' log-probabilities; called when every question is answered, so
            that it may take the place of `policy` in memory.
        scorers: the search's scorer and the held-out scorer; each gives the descriptions' relevance, 0..100. Without a
            held-out scorer its values are null.
        questions: descriptions and yes/no questions, in any order.
        root: the folder that image paths are relative to.
        max_new_tokens: token limit of a description; a yes/no answer has at most `pope.ANSWER_TOKENS` tokens.
        batch_size: answers decoded together.
        search: returns answers to the descriptions, by question id, that take the place of the greedy ones; called when
            every question is answered greedily. None: all answers are greedy.
        progress: whether to show progress bars.

    Raises:
        UserError: an image is missing or unreadable, or a question is empty.
    """
    describing = [question for question in questions if question.kind == Kind.DESCRIBE]
    asking = [question for question in questions if question.kind == Kind.YES_NO]
    described = answer(
        policy,
        describing,
        root=root,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        title="descriptions",
        progress=progress,
    )
    decided = answer(
        policy,
        asking,
        root=root,
        max_new_tokens=min(max_new_tokens, ANSWER_TOKENS),
        batch_size=batch_size,
        title="yes/no questions",
        progress=progress,
    )
    if search is not None and describing:
        searched = search(describing)
        described = [
            searched.get(question.question_id, greedy)
            for question, greedy in zip(describing, described, strict=True)
        ]
    logprobs = completion_logprobs(
        base(),
        describing,
        [reply.token_ids for reply in described],
        root=root,
        batch_size=batch_size,
        title="log-likelihood under the base",
        progress=progress,
    )
    images = LazyImages(describing, root)
    texts = [reply.text for reply in described]
    relevances = [
        [None] * len(texts) if scorer is None else mean_relevance(scorer, images, texts) for scorer in scorers
    ]
    unscored = [None] * len(asking)
    replies = [
        *zip(describing, described, logprobs, *relevances, strict=True),
        *zip(asking, decided, unscored, unscored, unscored, strict=True),
    ]
    found = {
        question.question_id: Answer(
            question_id=question.question_id,
            text=reply.text,
            tokens=len(reply.token_ids),
            finished=reply.finished,
            logprob_base=logprob,
            relevance=relevance,
            relevance_held_out=relevance_held_out,
        )
        for question, reply, logprob, relevance, relevance_held_out in replies
    }
    return [found[question.question_id] for question in questions]


@dataclass(frozen=True)
class LazyImages(Sequence[Image]):
    """The images of questions, each read from its file whenever it is asked for: never all of them in memory."""

    questions: Sequence[Question]
    root: Path | ImageRoot

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        if isinstance(index, slice):
            return LazyImages(self.questions[index], self.root)
        question = self.questions[index]
        return load_image(question.image, root=self.root, place=f"question {question.question_id}")

    def __len__(self) -> int:
        return len(self.questions)


def mean_relevance(scorer: Scorer, images: Sequence[Image], texts: Sequence[str]) -> list[float | None]:
    """Return the mean R_I of each text's sentences with its image, [texts], 0..100.

    Sentences of which the scorer says nothing are left out. None for a text without words, or if none is left.
    """
    sentences = [split(text) for text in texts]
    owners = [index for index, own in enumerate(sentences) for _ in own]
    if not owners:
        return [None] * len(texts)
    scores = scorer.open(images).relevance(owners, [each for own in sentences for each in own])
    values = iter([score.value for score in scores])
    known = [[value for _ in own if (value := next(values)) is not None] for own in sentences]
    return [fmean(own) if own else None for own in known]
