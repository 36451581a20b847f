"""Yes/no questions about objects: POPE (Li et al. 2023, arXiv 2305.10355), with three rules of reading an answer.

- `parse_keyword`, the rule of the original: the text up to the first full stop, without commas, is split at spaces. It
  says "no" if one of the words is "No", "no" or "not", and "yes" otherwise: an answer that says neither counts as "yes".
- `parse_strict`: the whole answer is the word "yes" or "no"; letter case, white space and punctuation around it are
  ignored. Any other answer is unreadable.
- `parse_yes_no`, the rule of the main figures: as the original, but "yes" must be among the words too, and letter case and
  punctuation around a word are ignored ("Yes." is yes). An answer with none of these words is unreadable.

An unreadable answer counts as wrong and not as "yes", and the share of such answers is reported. Otherwise a model that
answers something else would be right in half of the cases.

POPE has three sets of questions, which differ in how the absent objects were chosen: random, popular or adversarial. Half of
each set asks about present objects. `accuracy_by_kind` gives the accuracy of each set.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.evaluation.intervals import Ratio, percentage
from csrdata.records import Side
from csrdata.search.sentences import CLOSERS, STOPS
from csrdata.storage.values import NEGATIVES

ANSWER_TOKENS = 16
"""Token limit of an answer to a yes/no question, whose first words decide."""

_WORDS = re.compile(r"[^\W\d_]+")
_NEGATIONS = {"no", "not"}
PUNCTUATION = STOPS | CLOSERS | frozenset("\"'\u201c\u2018([{*,;:")
"""What may surround the word of a strict answer."""


@dataclass(frozen=True, slots=True)
class YesNoReply:
    """A question's facts and the text of its answer."""

    image: str
    right: Side
    negative: str | None
    """How the absent object of a no question was chosen: one of `NEGATIVES`; None for a yes question."""
    text: str


@dataclass(frozen=True, slots=True)
class YesNoAnswer:
    """The right and the given answer to one question."""

    image: str
    right: Side
    said: Side | None
    """None: unreadable."""


def parse_yes_no(text: str) -> Side | None:
    """Return whether an answer says yes or no; None if it says neither.

    Examples: "Yes." -> yes; "No, there is not." -> no; "It is a circle." -> None; "There is not. Yes?" -> no
    """
    words = {word.lower() for word in _WORDS.findall(text.partition(".")[0])}
    if words & _NEGATIONS:
        return Side.NO
    return Side.YES if "yes" in words else None


def parse_keyword(text: str) -> Side:
    """Return what an answer says by the rule of the original.

    Examples: "It is a circle." -> yes; "NO." -> yes; "No, it is not." -> no
    """
    words = text.partition(".")[0].replace(",", "").split(" ")
    return Side.NO if not {"No", "no", "not"}.isdisjoint(words) else Side.YES


def parse_strict(text: str) -> Side | None:
    """Return what an answer says if it is one word; None if it is unreadable.

    Examples: " Yes." -> yes; "No, there is not." -> None
    """
    word = text.strip().strip("".join(PUNCTUATION)).casefold()
    return Side(word) if word in set(Side) else None


RULES = (
    ("pope", parse_yes_no, ("accuracy", "f1", "yes_rate", "unparsed")),
    ("pope_keyword", parse_keyword, ("accuracy", "f1", "yes_rate")),
    ("pope_strict", parse_strict, ("accuracy", "f1", "unparsed")),
)
"""The prefix of a rule's figures, the rule, and which of its figures are reported."""


def ratios(replies: Sequence[YesNoReply], images: Sequence[str]) -> dict[str, Ratio]:
    """Return the figures of a split's questions by every rule, and the accuracy by kind, with one entry per image.

    Args:
        replies: one per question; see `accuracy_by_kind` for their order.
        images: as in `figures_of`.
    """
    found: dict[str, Ratio] = {}
    for prefix, rule, names in RULES:
        answers = [YesNoAnswer(reply.image, reply.right, rule(reply.text)) for reply in replies]
        figures = figures_of(answers, images)
        found |= {f"{prefix}_{name}": figures[name] for name in names}
    kinds = accuracy_by_kind(replies, images)
    return found | {f"pope_accuracy_{kind}": accuracy for kind, accuracy in kinds.items()}


def accuracy_by_kind(replies: Sequence[YesNoReply], images: Sequence[str]) -> dict[str, Ratio]:
    """Return the accuracy, percent, 0..100, of each kind of `NEGATIVES` that is asked, by `parse_yes_no`.

    A kind is the no questions whose absent object was so chosen, and as many yes questions: the first yes question of an
    image belongs to the kind of the image's first no question, the second to that of the second, and so on; after the last
    no question the first one follows. So an image whose questions are of one kind has all of them in it.

    Args:
        replies: the questions of an image in the order of their table.
        images: as in `figures_of`.

    Example: an image with the questions yes, yes, no (random), no (popular) has one yes and one no question of each.
    """
    asked: dict[str, list[YesNoReply]] = {image: [] for image in images}
    for reply in replies:
        asked[reply.image].append(reply)
    right: dict[str, dict[str, list[bool]]] = {kind: {image: [] for image in images} for kind in NEGATIVES}
    for image, group in asked.items():
        denied = [reply for reply in group if reply.right == Side.NO and reply.negative is not None]
        affirmed = [reply for reply in group if reply.right == Side.YES] if denied else []
        partners = [(reply, denied[place % len(denied)]) for place, reply in enumerate(affirmed)]
        for reply, partner in [*((reply, reply) for reply in denied), *partners]:
            right[str(partner.negative)][image].append(parse_yes_no(reply.text) == reply.right)
    return {
        kind: percentage([sum(row) for row in rows.values()], [len(row) for row in rows.values()])
        for kind, rows in right.items()
        if any(rows.values())
    }


def figures_of(answers: Sequence[YesNoAnswer], images: Sequence[str]) -> dict[str, Ratio]:
    """Return the figures of a split's questions, percentages 0..100, with one entry per image.

    `accuracy`, `yes_rate` and `unparsed` are shares of all questions. `f1` is 2 TP / (2 TP + FP + FN) with "yes" as the
    positive class; an unreadable answer to a question whose right answer is yes counts as FN.

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
        "accuracy": percentage(count((Side.YES, Side.YES), (Side.NO, Side.NO)), asked),
        "f1": percentage([2 * hit for hit in hits], [2 * hit + wrong + miss for hit, wrong, miss in weighed]),
        "yes_rate": percentage(count((Side.YES, Side.YES), (Side.NO, Side.YES)), asked),
        "unparsed": percentage(count((Side.YES, None), (Side.NO, None)), asked),
    }
