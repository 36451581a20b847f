"""The exact inverse of `language.sentence`: from one sentence back to what it claims.

All sentences of the microworld are listed once and looked up, so that what is read is exactly what can be said; a
sentence that cannot be read is not well-formed. Splitting an answer into sentences is done elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from csrdata.sources.microworld.language import PLACE_PHRASES, SENTENCE_PATTERNS, sentence
from csrdata.sources.microworld.world import COLOURS, PLACES, SHAPES, SceneObject


@dataclass(frozen=True)
class Claim:
    """What one sentence says: an object of this shape, in this colour, at this place."""

    shape: str
    colour: str
    place: str


def read(text: str) -> Claim | None:
    """What a sentence claims, or None where it is no sentence of the microworld.

    Example: "There is a red circle at the top left." -> Claim("circle", "red", "top left")
    """
    return _sayings().get(text.strip())


def all_sentences() -> dict[str, Claim]:
    """Every sentence that can be said (some 15,000), in a fixed order, with what it claims."""
    return dict(_sayings())


@lru_cache(maxsize=1)
def _sayings() -> dict[str, Claim]:
    return {
        sentence(SceneObject(shape, colour, place), pattern=pattern, phrase=phrase): Claim(
            shape, colour, place
        )
        for shape in SHAPES
        for colour in COLOURS
        for place in PLACES
        for pattern in range(len(SENTENCE_PATTERNS))
        for phrase in range(len(PLACE_PHRASES[place]))
    }
