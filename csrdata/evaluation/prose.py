"""Length and repetition of descriptions: what can be measured without knowing what is in the image."""

from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.evaluation.intervals import Ratio, mean, percentage
from csrdata.search.sentences import split
from csrdata.search.words import word_count


@dataclass(frozen=True, slots=True)
class ProseCounts:
    """Counts of one description's text."""

    words: int
    """As `csrdata.search.words.word_count` counts them."""
    sentences: int
    repeated: int
    """Sentences that occurred earlier in this answer; letter case and white space are ignored."""


def count_prose(text: str) -> ProseCounts:
    """Count words, sentences and repeated sentences of one description."""
    sentences = split(text)
    distinct = {" ".join(sentence.casefold().split()) for sentence in sentences}
    return ProseCounts(word_count(text), len(sentences), len(sentences) - len(distinct))


def ratios(counts: Sequence[ProseCounts]) -> dict[str, Ratio]:
    """Return `length`, in words, and `repetition`, percent of the sentences, from one row per description."""
    return {
        "length": mean([row.words for row in counts]),
        "repetition": percentage([row.repeated for row in counts], [row.sentences for row in counts]),
    }
