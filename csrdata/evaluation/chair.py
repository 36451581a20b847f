"""What descriptions say that is not there: CHAIR, and what it must be read with.

From Rohrbach et al. 2018, arXiv 1809.02156:

    CHAIR_I = mentions of absent objects / mentions of objects
    CHAIR_S = answers that name at least one absent object / answers

Both count mentions as the original does: an object named twice counts twice. Saying less lowers both, so
recall, length and the rest are reported with them. `count_claims` returns one `ClaimCounts` per answer; the figures are
ratios of sums over them, so that resampling images means resampling rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.evaluation.claims import mentions_of
from csrdata.evaluation.intervals import Ratio, mean, percentage
from csrdata.records import Truth
from csrdata.search.words import word_count
from csrdata.sources.base import ClaimParser


@dataclass(frozen=True, slots=True)
class ClaimCounts:
    """What one description gets right and wrong, in counts."""

    image: str
    mentions: int
    """Objects named, repeats counted."""
    absent: int
    """Of these, mentions of objects that are not there."""
    attribute_errors: int
    """Mentions of present objects with a wrong attribute or place."""
    present_named: int
    """Different present objects named."""
    present: int
    """Objects in the image."""
    words: int
    """As `csrdata.search.words.word_count` counts them."""
    sentences: int
    repeated: int
    """Sentences that came before in this answer, letter case and white space aside."""
    well_formed: int
    mistakes: tuple[str, ...]
    """The kind of each absent mention that the source could tell, in order."""


def count_claims(text: str, truth: Truth, reader: ClaimParser) -> ClaimCounts:
    """Compare one description with the truth about its image."""
    sentences = reader.sentences(text)
    mentions = mentions_of(text, truth, reader)
    absent = [mention for mention in mentions if not mention.present]
    return ClaimCounts(
        image=truth.image,
        mentions=len(mentions),
        absent=len(absent),
        attribute_errors=sum(mention.present and mention.attributes_right is False for mention in mentions),
        present_named=len({mention.name for mention in mentions if mention.present}),
        present=len(set(truth.objects)),
        words=word_count(text),
        sentences=len(sentences),
        repeated=len(sentences) - len({" ".join(sentence.casefold().split()) for sentence in sentences}),
        well_formed=sum(reader.well_formed(sentence) for sentence in sentences),
        mistakes=tuple(mention.mistake for mention in absent if mention.mistake is not None),
    )


def ratios(counts: Sequence[ClaimCounts]) -> dict[str, Ratio]:
    """Return the figures of a split's descriptions, one entry per image.

    `chair_s`, `chair_i`, `recall`, `attribute_errors` (of the mentions of present objects), `repetition` and
    `well_formed` (of the sentences) are percentages, `length` is words, `present_per_answer` objects.
    """
    present_mentions = [row.mentions - row.absent for row in counts]
    sentences = [row.sentences for row in counts]
    return {
        "chair_s": percentage([row.absent > 0 for row in counts], [1] * len(counts)),
        "chair_i": percentage([row.absent for row in counts], [row.mentions for row in counts]),
        "recall": percentage([row.present_named for row in counts], [row.present for row in counts]),
        "length": mean([row.words for row in counts]),
        "present_per_answer": mean([row.present_named for row in counts]),
        "attribute_errors": percentage([row.attribute_errors for row in counts], present_mentions),
        "repetition": percentage([row.repeated for row in counts], sentences),
        "well_formed": percentage([row.well_formed for row in counts], sentences),
    }


def false_by_kind(counts: Sequence[ClaimCounts]) -> dict[str, float]:
    """Return the absent mentions by kind of mistake, per 100 answers; kinds that never occur are left out."""
    kinds = Counter(kind for row in counts for kind in row.mistakes)
    return {kind: 100 * count / len(counts) for kind, count in sorted(kinds.items())}
