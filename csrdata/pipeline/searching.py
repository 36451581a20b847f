"""Answers of the search instead of greedy ones, where `evaluate_policy.decoding` says so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from csrdata.images import ImageRoot
from csrdata.params import Params
from csrdata.records import Prompt, Question

if TYPE_CHECKING:
    from csrdata.policy.answering import Reply
    from csrdata.policy.loading import Policy
    from csrdata.relevance.base import Scorer


def search_answers(
    params: Params, policy: "Policy", scorer: "Scorer", questions: Sequence[Question], *, root: ImageRoot
) -> "dict[str, Reply]":
    """Search answers to questions as `generate_beams` does, and return the best of each by `score_beams`, by question id.

    Args:
        params: `generate_beams` and `score_beams` are read.
        policy: proposes the sentences.
        scorer: the search's.
        questions: descriptions.
        root: the images of the questions.

    Returns:
        The answers; a question for which the search found no finished one is left out.
    """
    from csrdata.generation.best_answers import best_replies
    from csrdata.generation.clock import Clock
    from csrdata.generation.generating import generate
    from csrdata.pipeline.proposing import open_proposing
    from csrdata.progress import progress

    settings, scoring = params.generate_beams, params.score_beams
    prompts = [Prompt(question.question_id, question.image, question.text) for question in questions]
    found: dict[str, Reply] = {}
    with progress(total=len(prompts), title="search", unit="prompt") as bar:
        for start in range(0, len(prompts), settings.prompts_per_shard):
            shard = prompts[start : start + settings.prompts_per_shard]
            sentences = generate(
                shard,
                root=root,
                policy=policy,
                scorer=scorer,
                proposing=open_proposing(settings.proposal),
                **settings.model_dump(exclude={"proposal", "prompts_per_shard", "guidance"}),
                guidance=settings.guidance.kind,
                image_weight=settings.guidance.image_weight,
                scale=settings.guidance.scale,
                repetition_threshold=settings.guidance.repetition_threshold,
                clock=Clock(),
            )
            found |= best_replies(
                sentences,
                image_weight=scoring.image_weight,
                scale=scoring.scale,
                repetition_threshold=scoring.repetition_threshold,
                aggregate_by=scoring.aggregate,
            )
            bar.update(len(shard))
    return found
