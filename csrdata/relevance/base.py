"""What a scorer of image-text relevance does: R_I of equation 3, behind one protocol.

The search, the scoring and the evaluation know a scorer only by this protocol. A dual encoder, an ensemble or a detector can
stand behind it. A scorer knows no search and no prompt.

A scorer must be deterministic: the same images and the same calls in the same order give the same values. For that reason
whatever is remembered between calls (embeddings of texts, for example) belongs to an `ImageScores`, which lasts for one
shard: what was asked before a kill does not change what comes after it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from PIL.Image import Image


class Relevance(NamedTuple):
    """How well a text fits an image."""

    value: float
    """R_I, 0..100."""
    truncated: bool
    """Whether the text was longer than the scorer reads."""


class ImageScores(Protocol):
    """A scorer at work on the images of one shard."""

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return the relevance of each text to its image.

        Args:
            owners: N positions in the list of images, one per text.
            texts: N texts; white space around a text does not count.
        """
        ...

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return how close each text comes to any text before it, 0..1; 0 if there is no text before it.

        Args:
            texts: N texts; white space around a text does not count.
            earlier: for each of the N texts, the texts before it in its answer.
        """
        ...


class Scorer(Protocol):
    """A model that scores texts against images."""

    def open(self, images: Sequence[Image]) -> ImageScores:
        """Return the scores of these images, with nothing remembered yet."""
        ...
