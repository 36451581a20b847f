"""Pairs of the best answer and the same answer with one change that makes it false, or why a prompt has none.

The rejected answer is written by a rule, not by the policy, as in POVID (arXiv 2402.11411). What a pair teaches is then
independent of the rewards, which only say which answer is the best.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from csrdata.records import CORRUPTED, Dropped, DropReason, Pair, PairScores, Prompt, Response
from csrdata.search.pairs import Outcome, hashed
from csrdata.search.words import word_count


def make(
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[Response]],
    *,
    corrupt: Callable[[str, random.Random], str | None],
    seed: int,
) -> list[Outcome]:
    """Return the pair of each prompt, or why it has none, in the order of `prompts`.

    Chosen is the finished, canonical answer with words that has the highest reward; among equal ones, that of the lowest
    leaf. Rejected has no scores but its length: no policy wrote it. It ends with the same token as chosen, so that the end
    does not tell the two apart.

    Args:
        prompts: those that the policy could take.
        answers: the whole answers to them, by `prompt_id`.
        corrupt: returns an answer with one change that makes it false, drawn by the generator; None if it cannot.
        seed: the changes are drawn from it and the prompt's id; 0 or more.
    """
    return [
        _outcome(
            prompt,
            answers.get(prompt.prompt_id, ()),
            corrupt,
            random.Random(hashed("corrupted", seed, prompt.prompt_id)),
        )
        for prompt in prompts
    ]


def _outcome(
    prompt: Prompt,
    responses: Sequence[Response],
    corrupt: Callable[[str, random.Random], str | None],
    rng: random.Random,
) -> Outcome:
    eligible = [one for one in responses if one.finished and one.canonical and one.text.strip()]
    if not eligible:
        finished = sum(one.finished for one in responses)
        detail = f"{len(responses)} answers, {finished} finished, none of them with words and canonical"
        return Dropped(prompt.prompt_id, DropReason.NO_RESPONSE.value, detail)
    chosen = max(eligible, key=lambda one: (one.reward, -one.leaf_id))
    rejected = corrupt(chosen.text, rng)
    if rejected is None or rejected.strip() == chosen.text.strip():
        detail = f"no change of leaf {chosen.leaf_id} makes it false"
        return Dropped(prompt.prompt_id, DropReason.NO_CHANGE.value, detail)
    return Pair(
        prompt_id=prompt.prompt_id,
        image=prompt.image,
        prompt=prompt.text,
        chosen=chosen.text,
        rejected=rejected,
        origin=CORRUPTED,
        scores=PairScores(
            chosen_leaf=chosen.leaf_id,
            chosen_reward=chosen.reward,
            chosen_reward_held_out=chosen.reward_held_out,
            chosen_relevance=chosen.relevance,
            chosen_logprob=chosen.logprob,
            chosen_tokens=chosen.tokens,
            chosen_words=chosen.words,
            rejected_words=word_count(rejected),
            chosen_end=chosen.end,
            rejected_end=chosen.end,
        ),
    )
