"""Figures at equal recall: a policy's, where it names as many present objects as the base does.

A policy that says less invents less. CHAIR_S of two policies is therefore compared where their recall is equal: a bias is
added to the logits of the end-of-sequence tokens until the policy's recall on one split, the *setting split*, is that of the
base. The base itself has a bias of 0. The bias is kept for all other splits.

The answers are known at some biases, the points of a *curve*. Between two neighbouring points recall is linear in the bias,
and so is every other figure: with the share w of the way from one bias to the next, numerators and denominators are (1 - w)
times those of the first plus w times those of the second, image by image. This is the policy that draws the second bias
with probability w for each answer, and the first otherwise. For CHAIR_S, recall, length and present objects, whose
denominators do not depend on the answers, it is the linear interpolation of the figures themselves.

If the curve meets the base's recall at several biases, the one nearest to 0 counts, of two equally near the lower one. Where
it does not meet it, there is no bias: nothing is extrapolated.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csrdata.errors import UserError
from csrdata.evaluation import chair
from csrdata.evaluation.chair import ClaimCounts, count_claims
from csrdata.evaluation.intervals import Numbers, Ratio, divide, mean
from csrdata.evaluation.scorecard import CURVE_FIGURES, Known
from csrdata.records import Answer, BiasedAnswer, Kind, Question
from csrdata.search.words import word_count

_SAME = 1e-9
"""Percent: recalls this close are equal; they come from another order of summation."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One policy's figures on one split, at each bias."""

    biases: tuple[float, ...]
    """Nats, ascending; 1 or more."""
    images: tuple[str, ...]
    """The order of the ratios' rows."""
    ratios: Mapping[str, tuple[Ratio, ...]]
    """For each of `CURVE_FIGURES`, a ratio per bias."""

    def values(self, name: str) -> list[float | None]:
        """Return a figure at each bias."""
        return [ratio.value for ratio in self.ratios[name]]


@dataclass(frozen=True, slots=True)
class Match:
    """A place on a curve."""

    bias: float
    """Nats."""
    below: int
    """Index of the point at or below it."""
    share: float
    """How far it is on the way to the next point, 0..1."""


def bias_grid(*, low: float, high: float, step: float) -> list[float]:
    """Return the biases from `low` to `high`, nats, ascending; both are multiples of `step`, so that 0 is one of them.

    Example: -1, 0.5, 0.5 -> -1.0 -0.5 0.0 0.5
    """
    return [step * count + 0.0 for count in range(round(low / step), round(high / step) + 1)]


def describing(questions: Iterable[Question], known: Mapping[str, Known]) -> list[Question]:
    """Return the descriptions whose images' objects are known: what curves are about."""
    return [question for question in questions if question.kind == Kind.DESCRIBE and question.split in known]


def check_setting(split: str, questions: Sequence[Question], *, place: str, do: str) -> None:
    """Check that a bias can be set on a split.

    Args:
        split: the setting split.
        questions: as `describing` returns them.
        place: where the split is stated, for the error.
        do: the next command, for the error.

    Raises:
        UserError: none of the descriptions is of that split.
    """
    splits = dict.fromkeys(question.split for question in questions)
    if split in splits:
        return
    expected = (
        f"one of {', '.join(splits)}: descriptions of images whose objects are known"
        if splits
        else "match_recall: null, as the objects of no image are known"
    )
    raise UserError(place, got=split, expected=expected, do=do)


def biased_curves(
    questions: Sequence[Question],
    answers: Iterable[BiasedAnswer],
    known: Mapping[str, Known],
    *,
    made_by: str,
) -> dict[str, Curve]:
    """Measure a policy's answers at several biases, by split.

    Args:
        questions: as `describing` returns them.
        answers: one for each question and bias, in any order; others are ignored.
        known: by split, what is known about the images.
        made_by: the command that makes the answers, for the error's last words.

    Raises:
        UserError: a question has no answer at a bias that another answer has.
    """
    texts: dict[float, dict[str, str]] = defaultdict(dict)
    for answer in answers:
        texts[answer.bias][answer.question_id] = answer.text
    biases = sorted(texts)
    for bias in biases:
        for question in questions:
            if question.question_id not in texts[bias]:
                place, got = f"question {question.question_id}", f"no answer at a bias of {bias:g}"
                raise UserError(place, got=got, expected="one at each bias", do=made_by)
    return _curves(questions, {bias: texts[bias] for bias in biases}, known)


def plain_curves(
    questions: Sequence[Question], answers: Iterable[Answer], known: Mapping[str, Known], *, made_by: str
) -> dict[str, Curve]:
    """Measure a policy's answers without a bias, by split: curves of one point, at 0; see `biased_curves`."""
    at_zero = [BiasedAnswer(one.question_id, 0.0, one.text, one.tokens, one.finished) for one in answers]
    return biased_curves(questions, at_zero, known, made_by=made_by)


def match(curve: Curve, recall: float | None) -> Match | None:
    """Return where a curve has a recall, percent: the place nearest to a bias of 0. None if it has it nowhere."""
    if recall is None:
        return None
    values = np.array([[np.nan if value is None else value for value in curve.values("recall")]])
    (below,), (share,) = crossings(curve.biases, values, np.array([recall]))
    if np.isnan(share):
        return None
    after = curve.biases[min(below + 1, len(curve.biases) - 1)]
    first = curve.biases[below]
    return Match(bias=float(first + share * (after - first)), below=int(below), share=float(share))


def why_outside(curve: Curve, recall: float | None) -> str:
    """Return the reason why `match` gives None, in words."""
    values = [value for value in curve.values("recall") if value is not None]
    if recall is None or not values:
        return "there is no recall: the images have no objects"
    low, high = curve.biases[0], curve.biases[-1]
    return (
        f"the base's recall of {recall:.1f}% is outside the curve: "
        f"{min(values):.1f}% to {max(values):.1f}% at biases of {low:g} to {high:g} nats"
    )


def at_match(curve: Curve, place: Match) -> dict[str, Ratio]:
    """Return all figures of a curve at a place on it, as ratios over the same images."""
    after = min(place.below + 1, len(curve.biases) - 1)
    found = {}
    for name, ratios in curve.ratios.items():
        one, other = ratios[place.below], ratios[after]
        found[name] = Ratio(
            (1 - place.share) * one.numerators + place.share * other.numerators,
            (1 - place.share) * one.denominators + place.share * other.denominators,
            one.scale,
        )
    return found


def crossings(
    biases: Sequence[float], recalls: Numbers, targets: Numbers
) -> tuple[NDArray[np.int64], Numbers]:
    """Return where each of R curves has its target, the place nearest to a bias of 0.

    Args:
        biases: G biases, ascending.
        recalls: percent, [R, G].
        targets: percent, [R]; NaN: the figure does not exist.

    Returns:
        The index of the point at or below the place, [R], and the share of the way to the next point, 0..1, [R]; the share
        is NaN where the curve does not have its target.
    """
    points = np.asarray(biases, dtype=np.float64)
    # The last point has no next one: it is its own, so that a target at the end of a curve is met.
    after = np.minimum(np.arange(len(points)) + 1, len(points) - 1)
    first = recalls - targets[:, None]
    first[np.abs(first) < _SAME] = 0.0
    second = first[:, after]
    # Along a flat stretch at the target, the point nearest to 0 counts.
    widths = points[after] - points
    nearest = divide(np.clip(0.0, points, points[after]) - points, widths)
    flat = np.broadcast_to(np.nan_to_num(nearest), first.shape).copy()
    shares = np.divide(first, first - second, out=flat, where=first != second)
    away = np.where(first * second <= 0, np.abs(points + shares * widths), np.inf)
    below = away.argmin(1)
    rows = np.arange(len(below))
    return below, np.where(np.isfinite(away[rows, below]), shares[rows, below], np.nan)


def _curves(
    questions: Sequence[Question], texts: Mapping[float, Mapping[str, str]], known: Mapping[str, Known]
) -> dict[str, Curve]:
    """Measure the texts of each bias, ascending, by question."""
    splits: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        splits[question.split].append(question)
    return {split: _curve(own, texts, known[split]) for split, own in splits.items()}


def _curve(questions: Sequence[Question], texts: Mapping[float, Mapping[str, str]], known: Known) -> Curve:
    images = list(dict.fromkeys(question.image for question in questions))
    rows = {image: row for row, image in enumerate(images)}
    groups = [rows[question.image] for question in questions]
    counted: dict[tuple[str, str], ClaimCounts] = {}
    at_biases: list[dict[str, Ratio]] = []
    for own in texts.values():
        answers = [(question.image, own[question.question_id]) for question in questions]
        for image, text in answers:
            if (image, text) not in counted:
                counted[image, text] = count_claims(text, known.truths[image], known.parser)
        figures = chair.ratios([counted[answer] for answer in answers], details=False)
        figures["length"] = mean([word_count(text) for _, text in answers])
        at_biases.append({name: figures[name].grouped(groups, count=len(images)) for name in CURVE_FIGURES})
    return Curve(
        tuple(texts), tuple(images), {name: tuple(one[name] for one in at_biases) for name in CURVE_FIGURES}
    )
