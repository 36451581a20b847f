"""Pairs for tests: made by the default rule, or copied with other fields."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from csrdata.records import Pair, PairScores, Prompt, Response
from csrdata.search import answer_pairs
from csrdata.search.pairs import Outcome

_OF_SCORES = {field.name for field in fields(PairScores)}


def by_reward(prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[Outcome]:
    """Return a pair of the best and the worst answer to each prompt, or the reason for none."""
    return answer_pairs.make(
        prompts,
        {
            prompt.prompt_id: [row for row in responses if row.prompt_id == prompt.prompt_id]
            for prompt in prompts
        },
        order="reward",
        margin=0.0,
        max_length_gap=1.0,
        per_prompt=1,
        seed=0,
    )


def pair_with(pair: Pair, **changes: Any) -> Pair:
    """Return a copy of a pair with some fields changed, in the pair or in its scores."""
    scores = {name: value for name, value in changes.items() if name in _OF_SCORES}
    own = {name: value for name, value in changes.items() if name not in _OF_SCORES}
    return replace(pair, scores=replace(pair.scores, **scores), **own)


def without_scores(pair: Pair, *, origin: str = "judge") -> Pair:
    """Return a copy of a pair without scores."""
    return replace(pair, origin=origin, scores=PairScores())
