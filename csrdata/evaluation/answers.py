"""A policy's answers to the evaluation questions, as the records that everything else here reads."""

from collections.abc import Sequence
from pathlib import Path

from csrdata.evaluation.pope import ANSWER_TOKENS
from csrdata.policy.answering import answer, completion_logprobs
from csrdata.policy.loading import Policy
from csrdata.records import Answer, Kind, Question


def evaluation_answers(
    policy: Policy,
    base: Policy,
    questions: Sequence[Question],
    *,
    root: Path,
    max_new_tokens: int,
    batch_size: int,
    progress: bool = True,
) -> list[Answer]:
    """Answer every question greedily, in the order of the questions.

    Args:
        policy: answers.
        base: gives the descriptions' log-probabilities; may be the policy itself.
        root: the folder that image paths are relative to.
        max_new_tokens: of a description; a yes/no answer has at most `pope.ANSWER_TOKENS` of them.
        batch_size: answers decoded together.

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
    logprobs = completion_logprobs(
        base,
        describing,
        [reply.token_ids for reply in described],
        root=root,
        batch_size=batch_size,
        title="log-likelihood under the base",
        progress=progress,
    )
    replies = [
        *zip(describing, described, logprobs, strict=True),
        *zip(asking, decided, [None] * len(asking), strict=True),
    ]
    found = {
        question.question_id: Answer(
            question_id=question.question_id,
            text=reply.text,
            tokens=len(reply.token_ids),
            finished=reply.finished,
            logprob_base=logprob,
        )
        for question, reply, logprob in replies
    }
    return [found[question.question_id] for question in questions]
