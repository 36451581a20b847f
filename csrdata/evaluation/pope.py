"""Yes/no questions about objects: POPE (Li et al. 2023, arXiv 2305.10355).

The original reads an answer's first sentence, up to the first full stop, and takes it as "no" if one of its words is "no"
or "not", and as "yes" otherwise. Here "yes" must be said too: an answer with none of these words is *unparsed*. It counts
as wrong, is no "yes", and its share is reported; a model that answers something else would otherwise score half for
free. Letter case and punctuation around a word do not matter ("Yes." is yes).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.evaluation.intervals import Ratio, percentage
from csrdata.records import Side

ANSWER_TOKENS = 16
"""Tokens that an answer to a yes/no question may have: its first words decide."""

_WORDS = re.compile(r"[^\W\d_]+")
_NEGATIONS = {"no", "not"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question's right answer, and what was said."""

    image: str
    right: Side
    said: Side | None
    """None: neither yes nor no."""


def verdict(text: str) -> Side | None:
    """Say which side an answer takes.

    Examples: "Yes." -> yes; "No, there is not." -> no; "It is a circle." -> None; "There is not. Yes?" -> no
    """
    words = {word.lower() for word in _WORDS.findall(text.split(".")[0])}
    if words & _NEGATIONS:
        return Side.NO
    return Side.YES if "yes" in words else None


def ratios(outcomes: Sequence[Outcome], images: Sequence[str]) -> dict[str, Ratio]:
    """Return the figures of a split's questions, percentages 0..100, summed within each image.

    `pope_accuracy`, `pope_f1` ("yes" is the positive: 2 TP / (2 TP + FP + FN), an unparsed answer to a question whose
    right answer is yes being a miss), `pope_yes_rate` and `pope_unparsed` of all questions.

    Args:
        outcomes: in any order.
        images: the images of the split, in the order of the rows; one without questions weighs nothing.
    """
    rows: dict[str, list[Outcome]] = {image: [] for image in images}
    for outcome in outcomes:
        rows[outcome.image].append(outcome)

    def count(right: Side | None, said: Side | None) -> list[int]:
        return [sum(row.right == right and row.said == said for row in group) for group in rows.values()]

    asked = [len(group) for group in rows.values()]
    yes_right, no_right = count(Side.YES, Side.YES), count(Side.NO, Side.NO)
    false_yes = count(Side.NO, Side.YES)
    missed = [sum(row.right == Side.YES and row.said != Side.YES for row in group) for group in rows.values()]
    counts = list(zip(yes_right, no_right, false_yes, missed, strict=True))
    return {
        "pope_accuracy": percentage([hit + clear for hit, clear, _, _ in counts], asked),
        "pope_f1": percentage([2 * hit for hit, *_ in counts], [2 * hit + wrong + miss for hit, _, wrong, miss in counts]),
        "pope_yes_rate": percentage([hit + wrong for hit, _, wrong, _ in counts], asked),
        "pope_unparsed": percentage([sum(row.said is None for row in group) for group in rows.values()], asked),
    }
