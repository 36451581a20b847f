"""Several scorers as one: the weighted mean of what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from PIL.Image import Image

from csrdata.relevance.base import ImageScores, Relevance, Scorer


@dataclass(frozen=True)
class Ensemble:
    """A `Scorer` of weighted scorers, in a fixed order."""

    members: Sequence[tuple[float, Scorer]]
    """Weights above 0, and scorers; the weights need not add up to 1."""

    def open(self, images: Sequence[Image]) -> "EnsembleScores":
        """Return the scores of these images, with nothing remembered yet."""
        total = fsum(weight for weight, _ in self.members)
        return EnsembleScores([(weight / total, scorer.open(images)) for weight, scorer in self.members])


@dataclass(frozen=True)
class EnsembleScores:
    """The `ImageScores` of an ensemble."""

    members: Sequence[tuple[float, ImageScores]]
    """Weights that add up to 1."""

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return the mean relevance, 0..100; a text is truncated if a member did not read all of it.

        Members that say nothing of a text are left out of its mean.
        """
        found = [(weight, scores.relevance(owners, texts)) for weight, scores in self.members]
        return [
            Relevance(
                _mean([(weight, values[number].value) for weight, values in found]),
                any(values[number].truncated for _, values in found),
            )
            for number in range(len(texts))
        ]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the mean repetition, 0..1."""
        found = [(weight, scores.repetition(texts, earlier)) for weight, scores in self.members]
        return [fsum(weight * values[number] for weight, values in found) for number in range(len(texts))]


def _mean(values: Sequence[tuple[float, float | None]]) -> float | None:
    """Return the weighted mean of the known values; the weights of all values add up to 1."""
    known = [(weight, value) for weight, value in values if value is not None]
    total = fsum(weight * value for weight, value in known)
    if len(known) == len(values):
        return total
    return total / fsum(weight for weight, _ in known) if known else None
