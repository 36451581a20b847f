"""A scorer with noise added to what it says: how good does a scorer have to be?

The noise of a text about an image is drawn from a hash of both, so that it is the same in every call and in every process.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from PIL.Image import Image

from csrdata.relevance.base import ImageScores, Relevance, Scorer


@dataclass(frozen=True)
class Noisy:
    """A `Scorer` that is wrong by chance."""

    scorer: Scorer
    deviation: float
    """Standard deviation of the noise, in points of R_I, above 0."""
    seed: int

    def open(self, images: Sequence[Image]) -> "NoisyScores":
        """Return the scores of these images."""
        return NoisyScores(self, self.scorer.open(images), [_hash(image.tobytes()) for image in images])


@dataclass(frozen=True)
class NoisyScores:
    """The `ImageScores` of a noisy scorer."""

    noisy: Noisy
    scores: ImageScores
    images: Sequence[bytes] = field(repr=False)
    """A hash of each image's pixels."""

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return the scorer's relevance plus noise, cut to 0..100; where the scorer says nothing, nothing."""
        found = self.scores.relevance(owners, texts)
        return [
            one if one.value is None else one._replace(value=self._with_noise(one.value, owner, text))
            for one, owner, text in zip(found, owners, texts, strict=True)
        ]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the scorer's repetition, without noise."""
        return self.scores.repetition(texts, earlier)

    def _with_noise(self, value: float, owner: int, text: str) -> float:
        drawn = _hash(f"{self.noisy.seed} {text.strip()}".encode(), self.images[owner])
        share = (int.from_bytes(drawn) + 0.5) / 2 ** (8 * len(drawn))
        return min(100.0, max(0.0, value + self.noisy.deviation * NormalDist().inv_cdf(share)))


def _hash(*parts: bytes) -> bytes:
    """Return 6 bytes: they fit into a float's digits, so that a share of 0 or 1 does not occur."""
    return hashlib.blake2b(b"\0".join(parts), digest_size=6).digest()
