"""The two sides of a pair as training reads them: a text behind the pair's context, and whether it ends the answer."""

from dataclasses import dataclass

from csrdata.records import Pair

BOTH = ("chosen", "rejected")
"""The sides of a pair, in a batch's order."""
REFERENCES = ("ref_chosen_logps", "ref_rejected_logps")
"""Columns of the reference's log-probabilities, once they are known."""
NUMBERS = (*REFERENCES, "margin")
"""Columns with a number for each pair: the references, and the margin if the loss uses it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One side of a pair: what training reads of it behind the pair's context."""

    text: str
    complete: bool
    """Whether it ends the answer; training then reads its end behind the text."""
    end: int | None
    """The token that ended it; None for the one of the model's chat template."""
    tokens: int | None
    """How many were generated, the end included; None if it is not known."""
    logprob: float | None
    """Stored at generation, nats; None if it is not known which policy wrote the text."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The two sides of one pair under the policy that training starts from (equation 5)."""

    prompt_id: str
    number: int
    """Of the pair among its prompt's."""
    chosen_logprob: float
    """Log-probability of what follows the pair's context, nats: the sum over its tokens, the end included."""
    rejected_logprob: float
    chosen_tokens: int
    """1 or more, the end included."""
    rejected_tokens: int


def side_of(pair: Pair, name: str) -> Completion:
    """Return a side of a pair.

    Raises:
        ValueError: the name is none of `BOTH`.
    """
    scores = pair.scores
    if name == "chosen":
        return Completion(
            pair.chosen, pair.chosen_complete, scores.chosen_end, scores.chosen_tokens, scores.chosen_logprob
        )
    if name == "rejected":
        return Completion(
            pair.rejected,
            pair.rejected_complete,
            scores.rejected_end,
            scores.rejected_tokens,
            scores.rejected_logprob,
        )
    raise ValueError(f"{name} is no side of a pair")


def place_of(pair: Pair) -> str:
    """Return a pair's name in errors: `pair train-00001`, and `pair train-00001, number 1` for its prompt's next."""
    return f"pair {pair.prompt_id}" + (f", number {pair.number}" if pair.number else "")
