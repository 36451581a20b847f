"""Rewards of chosen and rejected answers on the scale of the authors' released code, by iteration (Table 10).

    pair_rewards_released.csv    iteration,answer,scorer,count,reward

The paper's Table 10 has means near 0.5; its text does not say on which scale. In the released code, a sentence costs
`lambda * rank of R_I / siblings + (1 - lambda) * rank of R_T / siblings`, an answer the sum of its sentences' costs divided
by their number plus one, and the lowest cost is chosen. Here an answer has 1 minus its cost: 0..1, and the chosen one has
more if the same order made the pair. Only pairs of whole answers of the search have such rewards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from csrdata.evaluation.analyses.relevance import SIDES, Answers, answer_of
from csrdata.evaluation.plots import Row
from csrdata.records import Pair, Response, Sentence, Signal
from csrdata.search.responses import score
from csrdata.search.reward import Aggregate, Scale

NAME = "pair_rewards_released"
COLUMNS = ("iteration", "answer", "scorer", "count", "reward")


def released_answers(
    sentences: Sequence[Sentence], signals: Sequence[Signal], *, signal: str, image_weight: float
) -> list[Response]:
    """Return the answers of some trees, each with the reward of this module's scale.

    Args:
        sentences, signals, signal, image_weight: as in `csrdata.search.responses.score`.

    Raises:
        UserError: a sentence has no row of the signal.
    """
    found = score(
        sentences,
        signals,
        signal=signal,
        image_weight=image_weight,
        scale=Scale.SIBLING_RANK,
        repetition_threshold=None,
        aggregate_by=Aggregate.MEAN_PLUS_ONE,
    )
    return [replace(answer, reward=1 + answer.reward) for answer in found]


def released_rows(pairs: Mapping[str, Sequence[Pair]], answers: Mapping[str, Answers]) -> list[Row]:
    """Return a row for each iteration and side; the reward is None where no pair is of two answers of the search.

    Args:
        pairs: by iteration, in the order of the table.
        answers: by iteration; those that the pairs name, from `released_answers`.
    """
    rows: list[Row] = []
    for iteration, own in pairs.items():
        both = [tuple(answer_of(pair, side, answers[iteration]) for side in SIDES) for pair in own]
        for index, side in enumerate(SIDES):
            rewards = [known.reward for sides in both if None not in sides and (known := sides[index])]
            mean = fmean(rewards) if rewards else None
            rows.append(
                {
                    "iteration": iteration,
                    "answer": side,
                    "scorer": "search",
                    "count": len(rewards),
                    "reward": mean,
                }
            )
    return rows
