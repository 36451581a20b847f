"""The image relevance R_I of chosen and rejected texts by iteration, under both scorers (arXiv 2405.14622, Figure 5).

    pair_relevance.csv    iteration,answer,scorer,count,mean,p10,p25,p50,p75,p90

`answer` is `chosen` or `rejected`. Under `search`, R_I is the image term of the reward, as stored with the pair; under
`held_out`, that of a scorer which the search does not use. Both are means over the sentences, 0..100. A search that only
learned what its own scorer likes raises the first and not the second.
"""

from collections.abc import Mapping, Sequence

from csrdata.evaluation.analyses.spread import SPREAD_COLUMNS, spread
from csrdata.evaluation.plots import Row
from csrdata.records import Pair, Response
from csrdata.search.pairs import Form, form

NAME = "pair_relevance"
COLUMNS = ("iteration", "answer", "scorer", *SPREAD_COLUMNS)
SIDES = ("chosen", "rejected")

Answers = Mapping[tuple[str, int], Response]
"""Answers of an iteration's search, by `prompt_id` and `leaf_id`."""


def relevance_rows(pairs: Mapping[str, Sequence[Pair]], answers: Mapping[str, Answers]) -> list[Row]:
    """Return a row for each iteration, side and scorer; a scorer without any value is left out.

    Args:
        pairs: by iteration, in the order of the table.
        answers: by iteration; those that the pairs name. Only whole answers have a stored R_I of the held-out scorer.
    """
    values = {
        (iteration, side, scorer): [
            value
            for pair in rows
            if (value := _relevance(pair, side, scorer, answers[iteration])) is not None
        ]
        for iteration, rows in pairs.items()
        for side in SIDES
        for scorer in ("search", "held_out")
    }
    known = {scorer for (_, _, scorer), found in values.items() if found}
    return [
        {"iteration": iteration, "answer": side, "scorer": scorer, **spread(found)}
        for (iteration, side, scorer), found in values.items()
        if scorer in known
    ]


def answer_of(pair: Pair, side: str, answers: Answers) -> Response | None:
    """Return the answer of the search that is a side of a pair; None for a continuation, or a text from elsewhere."""
    leaf: int | None = getattr(pair.scores, f"{side}_leaf")
    if leaf is None or form(pair) != Form.ANSWERS:
        return None
    found = answers.get((pair.prompt_id, leaf))
    return found if found is not None and found.text == getattr(pair, side) else None


def _relevance(pair: Pair, side: str, scorer: str, answers: Answers) -> float | None:
    if scorer == "search":
        value: float | None = getattr(pair.scores, f"{side}_relevance")
        return value
    answer = answer_of(pair, side, answers)
    return None if answer is None else answer.relevance_held_out
