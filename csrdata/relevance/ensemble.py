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
        """Return the mean relevance, 0..100; a text is truncated if a member did not read all of it."""
        found = [(weight, scores.relevance(owners, texts)) for weight, scores in self.members]
        return [
            Relevance(
                fsum(weight * values[number].value for weight, values in found),
                any(values[number].truncated for _, values in found),
            )
            for number in range(len(texts))
        ]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the mean repetition, 0..1."""
        found = [(weight, scores.repetition(texts, earlier)) for weight, scores in self.members]
        return [fsum(weight * values[number] for weight, values in found) for number in range(len(texts))]
