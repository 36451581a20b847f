"""The guidance of the search: it ranks candidates by equation 4, from a scorer's relevance and the policy's likelihood.

The search (`csrdata.search.beam`) takes its guidance as a function; `guide` returns that function.
"""

from collections.abc import Sequence

from PIL.Image import Image

from csrdata.relevance.base import Relevance, Scorer
from csrdata.search.beam import Branch, Candidates, Guidance, Guide, Proposal
from csrdata.search.reward import calibrate, without_gaps, without_repetitions


def guide(
    scorer: Scorer,
    images: Sequence[Image],
    *,
    guidance: str,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
) -> Guide:
    """Return a `Guide` for the search: it scores all candidates of a depth together.

    Args:
        scorer: computes R_I (equation 3).
        images: one per prompt, in the order of the prompts.
        guidance: `reward` ranks by the calibrated reward (the paper), `likelihood` by the language term alone (the
            authors' released code), `none` gives every candidate reward 0, which leaves them in the order of their groups.
        image_weight: lambda of equation 4, 0..1.
        scale: a `csrdata.search.reward.Scale`, relative to the candidates of one prompt at one depth; `sibling_rank`, to the
            candidates that continue the same live answer.
        repetition_threshold: see `csrdata.search.reward.without_repetitions`.
    """
    image_scores = scorer.open(images)
    weight = image_weight if guidance == "reward" else 0.0

    def score_candidates(depths: Sequence[Candidates]) -> list[list[Guidance]]:
        owners = [prompt for prompt, candidates in depths for _ in candidates]
        texts = [proposal.text for _, candidates in depths for _, proposal in candidates]
        earlier = [branch.texts for _, candidates in depths for branch, _ in candidates]
        if not texts:
            return [[] for _ in depths]
        scores = iter(image_scores.relevance(owners, texts))
        repetitions = iter(image_scores.repetition(texts, earlier))
        return [
            score_depth(
                candidates,
                [next(scores) for _ in candidates],
                [next(repetitions) for _ in candidates],
            )
            for _, candidates in depths
        ]

    def score_depth(
        candidates: Sequence[tuple[Branch, Proposal]],
        scores: Sequence[Relevance],
        repetitions: Sequence[float],
    ) -> list[Guidance]:
        proposals = [proposal for _, proposal in candidates]
        relevances = without_gaps([score.value for score in scores])
        rewards = calibrate(
            [proposal.logprob for proposal in proposals],
            [len(proposal.token_ids) for proposal in proposals],
            without_repetitions(relevances, repetitions, repetition_threshold=repetition_threshold),
            image_weight=weight,
            scale=scale,
            parents=[branch.node_id for branch, _ in candidates],
        )
        if guidance == "none":
            rewards = [0.0] * len(rewards)
        return [
            Guidance(relevance, score.truncated, repetition, reward)
            for relevance, score, repetition, reward in zip(
                relevances, scores, repetitions, rewards, strict=True
            )
        ]

    return score_candidates
