"""What an answer claims about its image, seen through a reader that knows the source.

CHAIR and its kin count mentions of objects; what a mention is and whether it is so, only the source of the
images can say (a table of synonyms for photographs, a grammar for drawn scenes). So every source brings a
`ClaimParser`, and nothing in this folder knows which. The protocols stand here, above the sources; a source's own
classes fit them by their shape.
"""

from collections.abc import Sequence
from typing import Protocol

from csrdata.records import Truth


class Mention(Protocol):
    """One object that a sentence names."""

    @property
    def name(self) -> str:
        """The object, as `Truth.objects` names it."""

    @property
    def present(self) -> bool:
        """It is in the image."""

    @property
    def attributes_right(self) -> bool | None:
        """All that is said of a present object is so; None where nothing is said, or none can tell."""

    @property
    def mistake(self) -> str | None:
        """What kind of mistake an absent object is; None for a present one, or if the source cannot tell."""


class ClaimParser(Protocol):
    """Reads the answers about one source's images."""

    def sentences(self, text: str) -> list[str]:
        """Split an answer into its sentences."""

    def well_formed(self, sentence: str) -> bool:
        """Say whether a sentence is one that the source's language knows."""

    def mentions(self, sentence: str, truth: Truth) -> Sequence[Mention]:
        """Return the objects that a sentence names, one entry a mention, in a well-formed sentence or not."""


def mentions_of(text: str, truth: Truth, reader: ClaimParser) -> list[Mention]:
    """Return every mention in an answer, in order; an object named twice is mentioned twice."""
    return [mention for sentence in reader.sentences(text) for mention in reader.mentions(sentence, truth)]


def is_false(mention: Mention) -> bool:
    """Say whether a mention states what is not so: an absent object, or something wrong of a present one."""
    return not mention.present or mention.attributes_right is False
