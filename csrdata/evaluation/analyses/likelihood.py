"""How likely chosen and rejected texts are under the policy that training starts from, by origin (Figure 8).

    pair_likelihood.csv    iteration,origin,measure,answer,preferred,count,mean,p10,p25,p50,p75,p90

`measure` is `answer` (the log-probability of the whole text, nats) or `token` (that divided by its tokens). `preferred` is
the percentage of the pairs in which this side is the likelier one; a tie counts half. The paper compares answers that the
policy wrote with answers that another model changed: where a rejected text is far less likely than the chosen one, the
policy already tells the two apart and has little to learn from the pair.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csrdata.evaluation.analyses.spread import SPREAD_COLUMNS, spread
from csrdata.evaluation.plots import Row
from csrdata.records import Pair

NAME = "pair_likelihood"
COLUMNS = ("iteration", "origin", "measure", "answer", "preferred", *SPREAD_COLUMNS)


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """The two sides of one pair under the policy that training starts from."""

    origin: str
    chosen: float
    """Log-probability given the prompt and the pair's context, nats, <= 0."""
    rejected: float
    chosen_tokens: int
    """1 or more, the end included."""
    rejected_tokens: int


def stored_likelihoods(pairs: Iterable[Pair]) -> list[Likelihoods]:
    """Return the likelihoods that the search stored with its pairs; pairs without are left out."""
    found = []
    for pair in pairs:
        scores = pair.scores
        chosen, rejected = scores.chosen_logprob, scores.rejected_logprob
        tokens = scores.chosen_tokens, scores.rejected_tokens
        if chosen is not None and rejected is not None and tokens[0] and tokens[1]:
            found.append(Likelihoods(pair.origin, chosen, rejected, tokens[0], tokens[1]))
    return found


def likelihood_rows(found: Mapping[str, Sequence[Likelihoods]]) -> list[Row]:
    """Return a row for each iteration, origin (by name), measure and side.

    Args:
        found: by iteration, in the order of the table.
    """
    rows: list[Row] = []
    for iteration, own in found.items():
        for origin in sorted({one.origin for one in own}):
            of_origin = [one for one in own if one.origin == origin]
            for measure in ("token", "answer"):
                chosen, rejected = _values(of_origin, measure)
                for answer, values, others in (
                    ("chosen", chosen, rejected),
                    ("rejected", rejected, chosen),
                ):
                    rows.append(
                        {
                            "iteration": iteration,
                            "origin": origin,
                            "measure": measure,
                            "answer": answer,
                            "preferred": _preferred(values, others),
                            **spread(values),
                        }
                    )
    return rows


def _values(found: Sequence[Likelihoods], measure: str) -> tuple[list[float], list[float]]:
    """Return the log-probabilities of the chosen and the rejected texts."""
    if measure == "answer":
        return [one.chosen for one in found], [one.rejected for one in found]
    return (
        [one.chosen / one.chosen_tokens for one in found],
        [one.rejected / one.rejected_tokens for one in found],
    )


def _preferred(values: Sequence[float], others: Sequence[float]) -> float:
    """Return how often a value is above its other, percent; ties count half."""
    points = sum((value > other) + (value == other) / 2 for value, other in zip(values, others, strict=True))
    return 100 * points / len(values)
