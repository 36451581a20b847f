"""Repetition for scorers without embeddings of texts: the cosine of two bags of words.

A bag counts the words of a text in lower case (`csrdata.search.words.words`), without the commonest function words of
English: "There is a red circle at the top" and "There is a blue star at the bottom" would otherwise be near repeats. Other
languages keep all their words. A cosine of bags is not a cosine of embeddings: synonyms count as different words, so a
threshold that fits a CLIP need not fit here. 0.8 means that about four of five words are the same.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt

from csrdata.search.words import words

FUNCTION_WORDS = frozenset(
    "a an the this that these those there here it its he she they we i you his her their our my your one "
    "is are was were be been being am has have had do does did can could will would may might "
    "of in on at to from with by for as into onto near and or but so also while which who what where "
    "see sees seen find shows show shown".split()
)
"""Words that say little about what is in an image."""


def word_repetition(texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
    """Return the largest cosine, 0..1, of each text's bag of words with that of an earlier text of its answer.

    Args:
        texts: N texts.
        earlier: for each of the N texts, the texts before it in its answer; 0 if there is none.

    Example: "A red circle." after "I see a red circle." -> 1.0; after "A red star." -> 0.5
    """
    known: dict[str, Counter[str]] = {}

    def bag(text: str) -> Counter[str]:
        if text not in known:
            known[text] = Counter(word for word in words(text) if word not in FUNCTION_WORDS)
        return known[text]

    return [
        max((_cosine(bag(text), bag(other)) for other in before), default=0.0)
        for text, before in zip(texts, earlier, strict=True)
    ]


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    """Return the cosine of two bags, 0..1; 0 if one is empty."""
    shared = sum(count * other[word] for word, count in one.items())
    lengths = sqrt(sum(count**2 for count in one.values()) * sum(count**2 for count in other.values()))
    return min(1.0, shared / lengths) if lengths else 0.0
