"""What a sentence says is in the image, in the words of a detector: objects by name, with their attributes.

A detector knows some objects and says how probable each is. Its vocabulary lists their names and attributes, each with the
phrases that a sentence may use. So the parser belongs to the detector, not to the source of the images: a detector of COCO's
80 objects comes with the names of those objects.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Phrases = Mapping[str, Sequence[str]]
"""For each value, the phrases that name it: `{"top": ["at the top", "in the upper middle"], ...}`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One object that a sentence names."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    """What is said of it: attribute and value, in the vocabulary's order: `(("colour", "red"), ("place", "top"))`."""


@dataclass(frozen=True)
class Vocabulary:
    """The objects and attributes that a detector knows, and how sentences name them."""

    names: Phrases
    attributes: Mapping[str, Phrases]
    """Values by attribute: `{"colour": {"red": ["red"], ...}, ...}`."""

    def claims(self, sentence: str) -> list[Claim]:
        """Return the objects that a sentence names, each name once, in the order of the sentence; case does not matter.

        An attribute is read where the sentence names one object and one value of the attribute: with two objects, the words
        alone do not say whose it is. A longer phrase hides the shorter ones inside it ("at the top left" is not "at the
        top"). A plain plural of a name ("circles", "boxes") counts as the name.

        Example: "There is a red circle at the top left." -> circle, colour red, place top left
        """
        names = list(dict.fromkeys(_found(self._name_pattern, self._name_of, sentence)))
        if len(names) != 1:
            return [Claim(name) for name in names]
        said = []
        for attribute, (pattern, value_of) in self._attribute_patterns.items():
            values = set(_found(pattern, value_of, sentence))
            if len(values) == 1:
                said.append((attribute, values.pop()))
        return [Claim(names[0], tuple(said))]

    @cached_property
    def _name_of(self) -> dict[str, str]:
        return _by_phrase(self.names)

    @cached_property
    def _name_pattern(self) -> re.Pattern[str]:
        return _pattern(self._name_of, plural=True)

    @cached_property
    def _attribute_patterns(self) -> dict[str, tuple[re.Pattern[str], dict[str, str]]]:
        by_phrase = {attribute: _by_phrase(values) for attribute, values in self.attributes.items()}
        return {attribute: (_pattern(found, plural=False), found) for attribute, found in by_phrase.items()}


def _by_phrase(phrases: Phrases) -> dict[str, str]:
    return {phrase.lower(): value for value, own in phrases.items() for phrase in own}


def _pattern(phrases: Mapping[str, str], *, plural: bool) -> re.Pattern[str]:
    """Return a pattern that finds phrases as whole words, the longest first."""
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    words = "|".join(map(re.escape, longest_first)) or r"(?!)"
    return re.compile(rf"\b({words}){'(?:e?s)?' if plural else ''}\b")


def _found(pattern: re.Pattern[str], value_of: Mapping[str, str], sentence: str) -> list[str]:
    return [value_of[phrase] for phrase in pattern.findall(sentence.lower())]
