"""The claims of an answer, parsed by its source's `ClaimParser` (`csrdata.sources.base`).

CHAIR and its kin count mentions of objects. What a mention is and whether it is true, only the source of the images can say:
a table of synonyms for photographs, a grammar for drawn scenes. Nothing in this folder knows which.
"""

from csrdata.records import Truth
from csrdata.sources.base import ClaimParser, Mention


def mentions_of(text: str, truth: Truth, parser: ClaimParser) -> list[Mention]:
    """Return every mention in an answer, in order; an object named twice is mentioned twice."""
    return [mention for sentence in parser.sentences(text) for mention in parser.mentions(sentence, truth)]


def is_false(mention: Mention) -> bool:
    """Say whether a mention states what is not so: an absent object, or something wrong of a present one."""
    return not mention.present or mention.attributes_right is False
