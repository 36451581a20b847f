"""The protocol of a scorer of image-text relevance, R_I of equation 3.

The search, the scoring and the evaluation use a scorer only through this protocol. It can be implemented by a dual encoder,
an ensemble or a detector. A scorer does not depend on the search or the prompts.

A scorer must be deterministic: the same images and the same calls in the same order give the same values. So any state
between calls, such as embeddings of texts, belongs to an `ImageScores`, which exists for one shard. If a run is interrupted
and started again, the next shard's scores then do not depend on earlier shards.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from PIL.Image import Image


class Relevance(NamedTuple):
    """The relevance of a text to an image."""

    value: float | None
    """R_I, 0..100; None if the scorer says nothing of the text, as a detector of a text that names no object."""
    truncated: bool
    """Whether the text was longer than the scorer's text limit, so that only its beginning was scored."""


class ImageScores(Protocol):
    """The scores of texts against the images of one shard."""

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return the relevance of each text to its image.

        Args:
            owners: for each of the N texts, the index of its image in the list given to `Scorer.open`.
            texts: N texts; white space around a text is ignored.

        Returns:
            N values, in the order of `texts`.
        """
        ...

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the largest similarity, 0..1, of each text to an earlier text of its answer; 0 if it has none.

        Args:
            texts: N texts; white space around a text is ignored.
            earlier: for each of the N texts, the texts before it in its answer.
        """
        ...


class Scorer(Protocol):
    """A model that scores texts against images."""

    def open(self, images: Sequence[Image]) -> ImageScores:
        """Return an `ImageScores` for these images, without any state from earlier calls."""
        ...
