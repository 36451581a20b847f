"""The exact inverse of `language.sentence`: from a sentence to its claim.

All sentences of the microworld are listed once and looked up, so the parser accepts exactly the sentences that can be
generated; any other sentence is malformed. `csrdata.search.sentences` splits an answer into sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from csrdata.sources.microworld.language import PLACE_PHRASES, SENTENCE_PATTERNS, sentence
from csrdata.sources.microworld.world import COLOURS, PLACES, SHAPES, SceneObject


@dataclass(frozen=True)
class Claim:
    """The claim of one sentence: an object of this shape, in this colour, at this place."""

    shape: str
    colour: str
    place: str


def read(text: str) -> Claim | None:
    """Return the claim of a sentence; None if it is not a sentence of the microworld.

    Example: "There is a red circle at the top left." -> Claim("circle", "red", "top left")
    """
    return _claims_by_sentence().get(text.strip())


def all_sentences() -> dict[str, Claim]:
    """Return every sentence of the microworld (about 15,000), in a fixed order, with its claim."""
    return dict(_claims_by_sentence())


@lru_cache(maxsize=1)
def _claims_by_sentence() -> dict[str, Claim]:
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
