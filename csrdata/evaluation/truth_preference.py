"""How often a score prefers the truer of two answers: the accuracy of the reward, where the truth is known.

A *statement* is a mention of an object. It is false if the object is absent or if something wrong is said of it
(`claims.is_false`). The *false share* of an answer is its false statements divided by its statements. Two finished
answers to one prompt are compared if their false shares differ; the truer one has the smaller share. A score is right
if it is higher for the truer answer, and half right if it ties. Answers without statements have no false share and
are left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrdata.errors import UserError
from csrdata.evaluation.claims import is_false, mentions_of
from csrdata.records import Response, Truth
from csrdata.sources.base import ClaimParser

SCORES = ("reward", "likelihood", "relevance")
"""Fields of `Response` that are tested: the calibrated reward, language alone, image alone."""


@dataclass(frozen=True, slots=True)
class TruthPreference:
    """How often each score prefers the truer answer, percent, 0..100; None if no two answers differ in truth."""

    comparisons: int
    reward: float | None
    likelihood: float | None
    relevance: float | None


def false_share(text: str, truth: Truth, parser: ClaimParser) -> float | None:
    """Return the share of an answer's statements that are false, 0..1; None if it has no statement."""
    mentions = mentions_of(text, truth, parser)
    return sum(map(is_false, mentions)) / len(mentions) if mentions else None


def truth_preference(
    responses: Iterable[Response], truths: Mapping[str, Truth], parser: ClaimParser
) -> TruthPreference:
    """Compare the answers to each prompt with each other.

    Args:
        responses: answers to any number of prompts, in any order.
        truths: the truth about each prompt's image, by `prompt_id`.
        parser: the parser of the images' source.

    Raises:
        UserError: the truth about the image of an answer is not known.
    """
    by_prompt: dict[str, list[tuple[float, Response]]] = {}
    for response in responses:
        if response.prompt_id not in truths:
            raise UserError(
                f"answers of prompt {response.prompt_id}",
                got="an image without known truth",
                expected="a prompt of the prompts' table, with the truth about its image",
                do="dvc repro",
            )
        share = false_share(response.text, truths[response.prompt_id], parser) if response.finished else None
        if share is not None:
            by_prompt.setdefault(response.prompt_id, []).append((share, response))
    comparisons = 0
    right = np.zeros(len(SCORES))
    for rows in by_prompt.values():
        count, points = _compare([share for share, _ in rows], [response for _, response in rows])
        comparisons += count
        right += points
    shares = [100 * float(points) / comparisons if comparisons else None for points in right]
    return TruthPreference(comparisons, *shares)


def _compare(shares: Sequence[float], responses: Sequence[Response]) -> tuple[int, np.ndarray]:
    """Return the number of comparisons of one prompt, and the points of each score in them, [scores]."""
    false = np.asarray(shares)
    truer, other = np.nonzero(false[:, None] < false[None, :])
    scores = np.asarray([[getattr(response, name) for name in SCORES] for response in responses])
    points = (1 + np.sign(scores[truer] - scores[other])) / 2
    return len(truer), points.sum(0)
