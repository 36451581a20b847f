"""A detector as a scorer: the relevance of a sentence is how probable the objects are that it names.

A detector says nothing of a sentence that names none of its objects: such a sentence has no relevance, and where a number is
needed it gets the mean of the sentences that it is compared with (`csrdata.search.reward.without_gaps`).

Any object with the members of `Detector` is one. `load_detector` loads the one class that there is today,
`csrdata.relevance.grid_detector`; another one would be chosen by the kind in its folder's `detector.json`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Protocol

from PIL.Image import Image

from csrdata.relevance.base import Relevance
from csrdata.relevance.claims import Claim, Vocabulary
from csrdata.relevance.word_repetition import word_repetition


class Detections(Protocol):
    """What a detector found in the images of one shard."""

    def probability(self, image: int, claim: Claim) -> float:
        """Return the probability, 0..1, that an object of this name with these attributes is in an image.

        Args:
            image: its index in the list given to `Detector.detect`.
            claim: an object of the detector's vocabulary.
        """
        ...


class Detector(Protocol):
    """A model that finds objects in images."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The objects and attributes that it knows."""

    def detect(self, images: Sequence[Image]) -> Detections:
        """Find the objects of all images."""
        ...


@dataclass(frozen=True)
class DetectorScorer:
    """A `Scorer` around a detector."""

    detector: Detector

    def open(self, images: Sequence[Image]) -> "DetectorScores":
        """Find the objects of the images and return their scores."""
        return DetectorScores(self.detector.vocabulary, self.detector.detect(images))


@dataclass(frozen=True)
class DetectorScores:
    """The `ImageScores` of a detector; keeps the claims of texts."""

    vocabulary: Vocabulary
    detections: Detections
    known: dict[str, list[Claim]] = field(default_factory=dict)

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return 100 times the mean probability of each text's claims, 0..100; None for a text without a claim."""
        found = []
        for owner, text in zip(owners, texts, strict=True):
            if text not in self.known:
                self.known[text] = self.vocabulary.claims(text)
            claims = self.known[text]
            value = fmean([self.detections.probability(owner, claim) for claim in claims]) if claims else None
            found.append(Relevance(None if value is None else 100 * value, truncated=False))
        return found

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the largest cosine of the bags of words, 0..1; see `word_repetition`."""
        return word_repetition(texts, earlier)


def load_detector(folder: Path, *, device: str) -> DetectorScorer:
    """Load a detector as a scorer. Nothing in its folder runs.

    Raises:
        UserError: a file is missing, or its content is not allowed; see `load_grid_detector`.
    """
    from csrdata.relevance.grid_detector import load_grid_detector

    return DetectorScorer(load_grid_detector(folder, device=device))
