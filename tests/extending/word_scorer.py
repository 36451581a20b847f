"""A scorer without a model, which finds words: any object with `open` is a scorer."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from csrdata.relevance.base import Relevance, Scorer


@dataclass(frozen=True)
class WordScorer:
    """Scores a text by the words that it shares with one list, the same for every image."""

    words: frozenset[str]
    longest: int = 20
    """Words of the longest text that is read whole."""

    def open(self, images: Sequence[Image]) -> "WordScores":
        """Return the scores of these images."""
        return WordScores(self, len(images))


@dataclass(frozen=True)
class WordScores:
    """The words that texts share with the list and with each other; nothing is remembered."""

    scorer: WordScorer
    images: int

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return the share of the list's words that each text has, 0..100."""
        if any(not 0 <= owner < self.images for owner in owners):
            raise IndexError(f"an owner is not in 0..{self.images - 1}")
        known = self.scorer.words
        return [
            Relevance(100 * len(known & words(text)) / len(known), len(text.split()) > self.scorer.longest)
            for text, _ in zip(texts, owners, strict=True)
        ]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the largest share of common words with an earlier text, 0..1."""
        return [
            max((_common(text, other) for other in before), default=0.0)
            for text, before in zip(texts, earlier, strict=True)
        ]


def words(text: str) -> frozenset[str]:
    """Return the distinct words of a text, in lower case, without full stops and commas."""
    return frozenset(word.strip(".,").lower() for word in text.split())


def _common(one: str, other: str) -> float:
    both = words(one) | words(other)
    return len(words(one) & words(other)) / len(both) if both else 0.0


SCORER: Scorer = WordScorer(frozenset({"red", "circle", "star", "there"}))
