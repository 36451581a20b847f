"""Yes/no questions about objects: POPE (Li et al. 2023, arXiv 2305.10355).

The original reads an answer up to the first full stop. It takes it as "no" if one of its words is "no" or "not", and
as "yes" otherwise. Here "yes" must be among the words as well: an answer with none of these words is *unparsed*. It
counts as wrong and not as "yes", and its share is reported. Otherwise a model that answers something else would be
right in half of the cases. Letter case and punctuation around a word do not matter ("Yes." is yes).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.evaluation.intervals import Ratio, percentage
from csrdata.records import Side

ANSWER_TOKENS = 16
"""Token limit of an answer to a yes/no question, whose first words decide."""

_WORDS = re.compile(r"[^\W\d_]+")
_NEGATIONS = {"no", "not"}


@dataclass(frozen=True, slots=True)
class YesNoAnswer:
    """The right and the given answer to one question."""

    image: str
    right: Side
    said: Side | None
    """None: unparsed."""


def parse_yes_no(text: str) -> Side | None:
    """Return whether an answer says yes or no; None if it says neither.

    Examples: "Yes." -> yes; "No, there is not." -> no; "It is a circle." -> None; "There is not. Yes?" -> no
    """
    words = {word.lower() for word in _WORDS.findall(text.partition(".")[0])}
    if words & _NEGATIONS:
        return Side.NO
    return Side.YES if "yes" in words else None


def ratios(answers: Sequence[YesNoAnswer], images: Sequence[str]) -> dict[str, Ratio]:
    """Return the figures of a split's questions, percentages 0..100, with one entry per image.

    `pope_accuracy`, `pope_yes_rate` and `pope_unparsed` are shares of all questions. `pope_f1` is 2 TP / (2 TP + FP +
    FN) with "yes" as the positive class; an unparsed answer to a question whose right answer is yes counts as FN.

    Args:
        answers: in any order.
        images: all images of the split, in the order of the entries; an image without questions has denominators of
            0.
    """
    rows: dict[str, list[YesNoAnswer]] = {image: [] for image in images}
    for answer in answers:
        rows[answer.image].append(answer)

    def count(*cases: tuple[Side, Side | None]) -> list[int]:
        """Count each image's questions by (right, said), [images]."""
        return [sum((row.right, row.said) in cases for row in group) for group in rows.values()]

    hits, false_yes = count((Side.YES, Side.YES)), count((Side.NO, Side.YES))
    misses = count((Side.YES, Side.NO), (Side.YES, None))
    asked = [len(group) for group in rows.values()]
    weighed = zip(hits, false_yes, misses, strict=True)
    return {
        "pope_accuracy": percentage(count((Side.YES, Side.YES), (Side.NO, Side.NO)), asked),
        "pope_f1": percentage(
            [2 * hit for hit in hits], [2 * hit + wrong + miss for hit, wrong, miss in weighed]
        ),
        "pope_yes_rate": percentage(count((Side.YES, Side.YES), (Side.NO, Side.YES)), asked),
        "pope_unparsed": percentage(count((Side.YES, None), (Side.NO, None)), asked),
    }
