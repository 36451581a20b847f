"""A pair of two whole answers, with the scores of both."""

from csrdata.records import Pair, PairScores, Prompt, Response


def paired(
    prompt: Prompt, chosen: Response, rejected: Response, *, origin: str, margin: float | None
) -> Pair:
    """Return the pair of two answers to a prompt.

    Args:
        prompt: the prompt of both answers.
        chosen, rejected: two answers with different texts.
        origin, margin: see `Pair` and `PairScores`.
    """
    return Pair(
        prompt_id=prompt.prompt_id,
        image=prompt.image,
        prompt=prompt.text,
        chosen=chosen.text,
        rejected=rejected.text,
        origin=origin,
        scores=PairScores(
            chosen_leaf=chosen.leaf_id,
            rejected_leaf=rejected.leaf_id,
            chosen_reward=chosen.reward,
            rejected_reward=rejected.reward,
            margin=margin,
            chosen_reward_held_out=chosen.reward_held_out,
            rejected_reward_held_out=rejected.reward_held_out,
            chosen_relevance=chosen.relevance,
            rejected_relevance=rejected.relevance,
            chosen_logprob=chosen.logprob,
            rejected_logprob=rejected.logprob,
            chosen_tokens=chosen.tokens,
            rejected_tokens=rejected.tokens,
            chosen_words=chosen.words,
            rejected_words=rejected.words,
            chosen_end=chosen.end,
            rejected_end=rejected.end,
        ),
    )
