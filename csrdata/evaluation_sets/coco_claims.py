"""Which objects of COCO an English text names: the claim parser of sets with COCO's truth.

Words are read from left to right, and the longest phrase of the synonym table that begins at a word counts ("hot dog" is
one mention of a hot dog, and none of a dog). White space within a line, a hyphen or an apostrophe separates the words of a
phrase. Letter case does not matter. This is a list of words, not a grammar: "there is no dog" mentions a dog, as in CHAIR.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from csrdata.evaluation_sets.synonyms import Synonyms
from csrdata.records import Truth
from csrdata.search.sentences import split

_WORD = re.compile(r"[^\W_]+")
_GAP = re.compile(r"[^\S\r\n]+|[-'\u2019\u2010\u2011]")
"""What may separate the words of a phrase; a new line ends a sentence."""


@dataclass(frozen=True, slots=True)
class CocoMention:
    """One object that a text names. Attributes and kinds of mistakes are unknown: COCO annotates neither."""

    name: str
    present: bool
    word: str
    start: int
    end: int
    attributes_right: None = None
    mistake: None = None


@dataclass(frozen=True)
class CocoClaimParser:
    """A `ClaimParser` by a table of synonyms."""

    synonyms: Synonyms
    tells_details: bool = False

    @property
    def version(self) -> str:
        """Name the rules by the hash of their table."""
        return f"coco synonyms {self.synonyms.sha256[:16]}"

    def sentences(self, text: str) -> list[str]:
        return split(text)

    def well_formed(self, sentence: str) -> bool:
        """Return True: no grammar is checked, and no figure reports it."""
        del sentence
        return True

    def mentions(self, sentence: str, truth: Truth) -> Sequence[CocoMention]:
        present = set(truth.objects)
        folded = sentence.casefold()
        places = _places(sentence, folded)
        return [
            CocoMention(name, name in present, folded[start:end], places[start], places[end - 1] + 1)
            for name, start, end in self._named(folded)
        ]

    def names(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield category and words of each mention, in order.

        Example: "Two Hot-Dogs near a dog." -> ("hot dog", "hot-dogs"), ("dog", "dog")
        """
        folded = text.casefold()
        for name, start, end in self._named(folded):
            yield name, folded[start:end]

    def _named(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield category, start and end of each mention in a text without capitals."""
        found = list(_WORD.finditer(text))
        start = 0
        while start < len(found):
            size = self._longest(text, found[start : start + self.synonyms.longest])
            if size:
                phrase = tuple(word[0] for word in found[start : start + size])
                name = self.synonyms.phrases[phrase]
                if name is not None:
                    yield name, found[start].start(), found[start + size - 1].end()
            start += max(size, 1)

    def _longest(self, text: str, found: Sequence[re.Match[str]]) -> int:
        """Return how many of the first words make the longest phrase of the table; 0 for none."""
        reach = 1
        while reach < len(found) and _GAP.fullmatch(text, found[reach - 1].end(), found[reach].start()):
            reach += 1
        phrase = tuple(word[0] for word in found[:reach])
        return next((size for size in range(reach, 0, -1) if phrase[:size] in self.synonyms.phrases), 0)


def _places(text: str, folded: str) -> Sequence[int]:
    """Return for each character of the case-folded text the place of its origin in the text: one may become several.

    Example: "Straße" is "strasse" -> 0 1 2 3 4 4 5
    """
    if len(text) == len(folded):
        return range(len(text))
    return [place for place, character in enumerate(text) for _ in character.casefold()]
