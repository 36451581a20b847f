"""What descriptions say that is not there: CHAIR, and what it must be read with.

From Rohrbach et al. 2018, arXiv 1809.02156:

    CHAIR_I = mentions of absent objects / mentions of objects
    CHAIR_S = answers that name at least one absent object / answers

Both count mentions as the original does: an object named twice counts twice. Saying less lowers both, so
recall, length and the rest stand beside them. One `Outcome` an answer first, figures as ratios of sums after,
so that whoever resamples images resamples rows.
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
class Outcome:
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


def outcome(text: str, truth: Truth, reader: ClaimParser) -> Outcome:
    """Hold one description against the truth about its image."""
    sentences = reader.sentences(text)
    mentions = mentions_of(text, truth, reader)
    absent = [mention for mention in mentions if not mention.present]
    return Outcome(
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


def ratios(outcomes: Sequence[Outcome]) -> dict[str, Ratio]:
    """Return the figures of a split's descriptions, one outcome an image.

    `chair_s`, `chair_i`, `recall`, `attribute_errors` (of the mentions of present objects), `repetition` and
    `well_formed` (of the sentences) are percentages, `length` is words, `present_per_answer` objects.
    """
    present_mentions = [row.mentions - row.absent for row in outcomes]
    sentences = [row.sentences for row in outcomes]
    return {
        "chair_s": percentage([row.absent > 0 for row in outcomes], [1] * len(outcomes)),
        "chair_i": percentage([row.absent for row in outcomes], [row.mentions for row in outcomes]),
        "recall": percentage([row.present_named for row in outcomes], [row.present for row in outcomes]),
        "length": mean([row.words for row in outcomes]),
        "present_per_answer": mean([row.present_named for row in outcomes]),
        "attribute_errors": percentage([row.attribute_errors for row in outcomes], present_mentions),
        "repetition": percentage([row.repeated for row in outcomes], sentences),
        "well_formed": percentage([row.well_formed for row in outcomes], sentences),
    }


def false_by_kind(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the absent mentions by kind of mistake, per 100 answers; kinds that never occur are left out."""
    counts = Counter(kind for row in outcomes for kind in row.mistakes)
    return {kind: 100 * count / len(outcomes) for kind, count in sorted(counts.items())}
