"""Does a score prefer the truer of two answers? The reward's own accuracy, where the truth is known.

An answer's *false share* is its false statements over its statements, a statement being a mention of an
object, false where the object is absent or something wrong is said of it (`claims.is_false`). Compared are
all pairs of finished answers to one prompt whose false shares differ; the truer has the smaller one. A score
is right where it is higher for the truer answer, half right where it ties. Answers that state nothing have no
false share and are left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrdata.errors import UserError
from csrdata.evaluation.claims import is_false, mentions_of
from csrdata.records import Response, Truth
from csrdata.sources.base import ClaimParser

SCORES = ("reward", "likelihood", "relevance")
"""Fields of `Response` that are put to the test: calibrated, language alone, image alone."""


@dataclass(frozen=True, slots=True)
class TruthPreference:
    """How often each score prefers the truer answer, 0..100; None where no two answers differ in truth."""

    comparisons: int
    reward: float | None
    likelihood: float | None
    relevance: float | None


def false_share(text: str, truth: Truth, reader: ClaimParser) -> float | None:
    """Return the share of an answer's statements that are false, 0..1; None where it states nothing."""
    mentions = mentions_of(text, truth, reader)
    return sum(map(is_false, mentions)) / len(mentions) if mentions else None


def truth_preference(
    responses: Iterable[Response], truths: Mapping[str, Truth], reader: ClaimParser
) -> TruthPreference:
    """Compare the answers of each prompt among themselves.

    Args:
        responses: of many prompts, in any order.
        truths: the truth about each prompt's image, by `prompt_id`.

    Raises:
        UserError: nothing is known about an answer's image.
    """
    by_prompt: dict[str, list[tuple[float, Response]]] = {}
    for response in responses:
        if response.prompt_id not in truths:
            raise UserError(
                f"answers of prompt {response.prompt_id}",
                got="nothing known about its image",
                expected="a prompt of the prompts' table, with the truth about its image",
                do="dvc repro",
            )
        share = false_share(response.text, truths[response.prompt_id], reader) if response.finished else None
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
    """Return one prompt's comparisons, and the points [scores] that each score earned in them."""
    false = np.asarray(shares)
    truer, other = np.nonzero(false[:, None] < false[None, :])
    scores = np.asarray([[getattr(response, name) for name in SCORES] for response in responses])
    points = (1 + np.sign(scores[truer] - scores[other])) / 2
    return len(truer), points.sum(0)
