"""The pairs of the trial of `csrdata check`: those of `select_pairs`, for two prompts whose answers are in memory.

The trial has neither signals nor truth. Sentences are ordered by the search's own R_I, an oracle's answers by their reward.
A way to make pairs that does not read the search has the best and the worst answer here, so that a training step is tried.
"""

from collections.abc import Callable, Sequence

from csrdata.params import Params
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence
from csrdata.search import answer_pairs, mixed_pairs, ranked_pairs, sentence_pairs
from csrdata.search.continuations import Scored
from csrdata.search.pairs import Outcome
from csrdata.search.responses import sentence_rewards
from csrdata.sections.method import AnswerPairs, AnyPairs, RankedPairs, ScoreBeams, SentencePairs

Select = Callable[[Prompt, Sequence[Sentence], Sequence[Response]], list[Outcome]]
"""The pairs of one prompt, or one reason for none, from its candidates and answers."""


def selection(params: Params) -> Select:
    """Return what selects the pairs of one prompt."""

    def select(prompt: Prompt, tree: Sequence[Sentence], answers: Sequence[Response]) -> list[Outcome]:
        return _select(params.select_pairs, params.score_beams, prompt, tree, answers)

    return select


def _select(
    settings: AnyPairs,
    reward: ScoreBeams,
    prompt: Prompt,
    tree: Sequence[Sentence],
    answers: Sequence[Response],
) -> list[Outcome]:
    if isinstance(settings, SentencePairs):
        return _sentences(settings, reward, prompt, tree)
    if settings.kind == "mixed":
        parts = [(part.kind, _select(part, reward, prompt, tree, answers)) for part in settings.parts]
        return mixed_pairs.make([prompt], parts)
    if isinstance(settings, RankedPairs):
        listed = settings.model_dump(exclude={"curation", "kind"})
        return ranked_pairs.make([prompt], {prompt.prompt_id: answers}, **listed)
    own = settings if isinstance(settings, AnswerPairs) else None
    found = answer_pairs.select(
        prompt,
        answers,
        order="random" if own and own.order == "random" else "reward",
        margin=own.margin if own else 0.0,
        max_length_gap=own.max_length_gap if own else 1.0,
        per_prompt=own.per_prompt if own else 1,
        seed=own.seed if own else 0,
    )
    return [found] if isinstance(found, Dropped) else _outcomes(found)


def _sentences(
    settings: SentencePairs, reward: ScoreBeams, prompt: Prompt, tree: Sequence[Sentence]
) -> list[Outcome]:
    relevances = {sentence.node_id: sentence.relevance for sentence in tree}
    rewards = sentence_rewards(
        tree,
        relevances,
        image_weight=reward.image_weight,
        scale=reward.scale,
        repetition_threshold=reward.repetition_threshold,
    )
    found = sentence_pairs.select(
        prompt,
        tree,
        order=settings.order if settings.order == "reward" else "relevance",
        min_gap=settings.min_gap,
        chosen_share=settings.chosen_share,
        rejected_share=settings.rejected_share,
        repetition_threshold=settings.repetition_threshold,
        per_prompt=settings.per_prompt,
        ends="none",
        end_gap=settings.end_gap,
        ends_per_prompt=settings.ends_per_prompt,
        seed=settings.seed,
        scored=Scored(rewards, relevances),
        elsewhere={},
    )
    return [found] if isinstance(found, Dropped) else _outcomes(found)


def _outcomes(pairs: Sequence[Pair]) -> list[Outcome]:
    return list(pairs)
