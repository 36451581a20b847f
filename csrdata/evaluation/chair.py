"""Objects in descriptions that are not in the image: CHAIR, and the figures that need the truth as it does.

From Rohrbach et al. 2018, arXiv 1809.02156:

    CHAIR_I = mentions of absent objects / mentions of objects
    CHAIR_S = answers that name at least one absent object / answers

As in the original, an object that is named twice counts as two mentions. Short answers lower both figures, so recall,
length (`csrdata.evaluation.prose`) and others are reported with them. An unfinished last sentence, cut at the token limit,
counts like the others. `count_claims` returns one `ClaimCounts` per answer; the figures are ratios of sums over these rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.evaluation.claims import mentions_of
from csrdata.evaluation.intervals import Ratio, mean, percentage
from csrdata.records import Truth
from csrdata.sources.base import ClaimParser


@dataclass(frozen=True, slots=True)
class ClaimCounts:
    """Counts of what one description gets right and wrong."""

    mentions: int
    """Mentions of objects, repetitions included."""
    absent: int
    """Mentions of objects that are not in the image."""
    attribute_errors: int
    """Mentions of present objects with a wrong attribute or place."""
    present_named: int
    """Distinct present objects that are named."""
    present: int
    """Distinct objects in the image."""
    sentences: int
    well_formed: int
    mistakes: tuple[str, ...]
    """The kind of each absent mention, in order, as far as the source can tell it."""


def count_claims(text: str, truth: Truth, parser: ClaimParser) -> ClaimCounts:
    """Count what one description gets right and wrong about its image."""
    sentences = parser.sentences(text)
    mentions = mentions_of(text, truth, parser)
    absent = [mention for mention in mentions if not mention.present]
    return ClaimCounts(
        mentions=len(mentions),
        absent=len(absent),
        attribute_errors=sum(mention.present and mention.attributes_right is False for mention in mentions),
        present_named=len({mention.name for mention in mentions if mention.present}),
        present=len(set(truth.objects)),
        sentences=len(sentences),
        well_formed=sum(parser.well_formed(sentence) for sentence in sentences),
        mistakes=tuple(mention.mistake for mention in absent if mention.mistake is not None),
    )


def ratios(counts: Sequence[ClaimCounts], *, details: bool) -> dict[str, Ratio]:
    """Return the figures of a split's descriptions, from one row per description.

    `chair_s`, `chair_i`, `recall`, `attribute_errors` (of the mentions of present objects) and `well_formed` (of the
    sentences) are percentages, 0..100. `present_per_answer` is in objects.

    Args:
        counts: one per description.
        details: whether the parser tells attributes and well-formed sentences; without, the two figures are absent.
    """
    found = {
        "chair_s": percentage([row.absent > 0 for row in counts], [1] * len(counts)),
        "chair_i": percentage([row.absent for row in counts], [row.mentions for row in counts]),
        "recall": percentage([row.present_named for row in counts], [row.present for row in counts]),
        "present_per_answer": mean([row.present_named for row in counts]),
    }
    if details:
        present_mentions = [row.mentions - row.absent for row in counts]
        sentences = [row.sentences for row in counts]
        found["attribute_errors"] = percentage([row.attribute_errors for row in counts], present_mentions)
        found["well_formed"] = percentage([row.well_formed for row in counts], sentences)
    return found


def false_by_kind(counts: Sequence[ClaimCounts]) -> dict[str, float]:
    """Return the absent mentions per 100 answers, by kind of mistake; kinds that do not occur are left out."""
    kinds = Counter(kind for row in counts for kind in row.mistakes)
    return {kind: 100 * count / len(counts) for kind, count in sorted(kinds.items())}
