"""The claims of an answer, parsed by its source's `ClaimParser` (`csrdata.sources.base`).

CHAIR and related figures count mentions of objects. Only the source of the images knows what a mention is and whether
it is true: from a table of synonyms for photographs, from a grammar for drawn scenes. No module of this folder
depends on how.
"""

from csrdata.records import Truth
from csrdata.sources.base import ClaimParser, Mention


def mentions_of(text: str, truth: Truth, parser: ClaimParser) -> list[Mention]:
    """Return every mention in an answer, in order; an object that is named twice has two mentions."""
    return [mention for sentence in parser.sentences(text) for mention in parser.mentions(sentence, truth)]


def is_false(mention: Mention) -> bool:
    """Return whether a mention is false: the object is absent, or something wrong is said of a present one."""
    return not mention.present or mention.attributes_right is False
