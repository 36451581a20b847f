"""CHAIR and POPE as benchmarks: the rows of an evaluation set, answered by any model.

Questions, truth and figures are those of the pipeline (`csrdata.evaluation.scorecard`). An answer may name its question by
the id in csrdata's tables, by the id in the public file (POPE's `question_id`), or by the image (`image_id` of COCO, or the
file's name) where a set asks one question about each image.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from csrdata.errors import UserError
from csrdata.evaluation.contrast import Measured
from csrdata.evaluation.pack.base import Bench, Check, Item
from csrdata.evaluation.pack.pope_splits import LABELS, mean_figures
from csrdata.evaluation.pope import YesNoReply
from csrdata.evaluation.scorecard import FIGURES, Known, scorecards
from csrdata.records import Answer, Kind, Question, Side

UNMEASURED = ("finished", "loglik_base", "relevance", "relevance_held_out")
"""Figures that need more than a text."""


def questions_bench(name: str, questions: Sequence[Question], known: Known | None, *, kind: str) -> Bench:
    """Return the benchmark of one split's questions.

    Args:
        name: of the split.
        questions: of this split, one or more.
        known: about their images, where it is.
        kind: of the set, for the table.

    Raises:
        UserError: there are no questions, or an image has no truth.
    """
    if not questions:
        raise UserError(
            f"--set {name}", got="no questions", expected="one or more", do="dvc repro sample_prompts"
        )
    items = tuple(Item(one.question_id, one.image, one.text) for one in questions)
    truths = {} if known is None else known.truths
    for one in questions:
        if known is not None and one.kind == Kind.DESCRIBE and one.image not in truths:
            place, expected = f"question {one.question_id}", "an annotation of its image"
            raise UserError(
                place, got=f"nothing known of {one.image}", expected=expected, do="correct the annotations"
            )

    def measure(texts: Mapping[str, str]) -> Measured:
        answers = [
            Answer(key, text, 0, finished=True, logprob_base=None, relevance=None, relevance_held_out=None)
            for key, text in texts.items()
        ]
        cards = scorecards(
            questions, answers, {} if known is None else {name: known}, made_by="csrdata evaluate"
        )
        found = {key: one for key, one in cards[name].ratios.items() if key not in UNMEASURED}
        return {**found, **mean_figures(_replies(questions, texts), images)}

    images = list(dict.fromkeys(one.image for one in questions))
    truth = ["\t".join((one.image, one.kind, one.answer or "", one.negative or "")) for one in questions]
    truth += ["\t".join((one.image, *one.objects, one.detail)) for one in truths.values()]
    return Bench(
        kind=kind,
        title=f"{kind} {name}" if kind != name else name,
        variant=None,
        rules="csrdata's three rules for yes/no" if known is None else known.parser.version,
        items=items,
        truth=tuple(truth),
        labels={key: label for key, label in FIGURES.items() if key not in UNMEASURED} | LABELS,
        checks=_checks(kind),
        measure=measure,
        aliases=_aliases(name, questions),
    )


def _checks(kind: str) -> dict[str, Check]:
    """Return what the original has: CHAIR on COCO, by its own table of synonyms; POPE, whose keyword rule is programmed."""
    if kind == "coco_chair":
        return dict.fromkeys(("chair_s", "chair_i"), Check.UNCHECKED)
    if kind in {"pope", "pope_built"}:
        return dict.fromkeys(
            ("pope_keyword_accuracy", "pope_keyword_f1", "pope_keyword_yes_rate"), Check.RULE
        )
    return {}


def _replies(questions: Sequence[Question], texts: Mapping[str, str]) -> list[YesNoReply]:
    return [
        YesNoReply(one.image, Side(str(one.answer)), one.negative, texts[one.question_id])
        for one in questions
        if one.kind == Kind.YES_NO
    ]


def _aliases(name: str, questions: Sequence[Question]) -> dict[str, str]:
    """Return further names of the questions; a name that two questions have is left out."""
    found: list[tuple[str, str]] = []
    for one in questions:
        public = one.question_id.removeprefix(f"{name}-")
        number = re.search(r"(\d{6,})\.\w+$", one.image)
        names = {public}
        numbers = [public]
        if one.kind == Kind.DESCRIBE:  # POPE's numbers are of questions, not of images
            names |= {one.image, PurePosixPath(one.image).name}
            numbers.append(number[1] if number else "")
        names |= {str(int(text)) for text in numbers if text.isascii() and text.isdigit()}
        found += [(alias, one.question_id) for alias in names if alias != one.question_id]
    often = Counter(alias for alias, _ in found)
    return {alias: key for alias, key in found if often[alias] == 1}
