"""All figures of one policy's answers, split by split: what is measured, and in what unit.

Answers are compared with the truth once, where it is known; what remains are ratios over a split's images
(`intervals.Ratio`), the images in the order of the questions, so that two policies' ratios pair up image by image.
A figure that a split cannot have is absent, never zero: CHAIR without truth, POPE without yes/no questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.errors import UserError
from csrdata.evaluation import chair, pope, prose
from csrdata.evaluation.intervals import Ratio, percentage, ratio
from csrdata.records import Answer, Kind, Question, Side, Truth
from csrdata.sources.base import ClaimParser


@dataclass(frozen=True, slots=True)
class Label:
    """How a figure is shown to a reader."""

    title: str
    unit: str
    digits: int = 1
    """Decimals that mean something."""


FIGURES: Mapping[str, Label] = {
    "chair_s_at_recall": Label("CHAIR_S at the base's recall", "% of answers"),
    "chair_i_at_recall": Label("CHAIR_I at the base's recall", "% of mentions"),
    "recall_at_recall": Label("recall at the same bias", "% of objects"),
    "length_at_recall": Label("length at the same bias", "words"),
    "present_per_answer_at_recall": Label("present objects named at the same bias", "per answer", digits=2),
    "chair_s": Label("CHAIR_S", "% of answers"),
    "chair_i": Label("CHAIR_I", "% of mentions"),
    "recall": Label("recall", "% of objects"),
    "length": Label("length", "words"),
    "present_per_answer": Label("present objects named", "per answer", digits=2),
    "attribute_errors": Label("attribute errors", "% of present mentions"),
    "repetition": Label("repeated sentences", "%"),
    "well_formed": Label("well-formed sentences", "%"),
    "finished": Label("finished answers", "%"),
    "loglik_base": Label("log-likelihood under base", "nats per token", digits=3),
    "relevance": Label("R_I by the search's scorer", "0 to 100"),
    "relevance_held_out": Label("R_I by the held-out scorer", "0 to 100"),
    "pope_accuracy": Label("POPE accuracy", "%"),
    "pope_accuracy_random": Label("POPE accuracy, random objects", "%"),
    "pope_accuracy_popular": Label("POPE accuracy, popular objects", "%"),
    "pope_accuracy_adversarial": Label("POPE accuracy, adversarial objects", "%"),
    "pope_f1": Label("POPE F1", "%"),
    "pope_yes_rate": Label("POPE yes-rate", "%"),
    "pope_unparsed": Label("POPE neither yes nor no", "%"),
    "pope_keyword_accuracy": Label("POPE accuracy, keyword rule", "%"),
    "pope_keyword_f1": Label("POPE F1, keyword rule", "%"),
    "pope_keyword_yes_rate": Label("POPE yes-rate, keyword rule", "%"),
    "pope_strict_accuracy": Label("POPE accuracy, strict match", "%"),
    "pope_strict_f1": Label("POPE F1, strict match", "%"),
    "pope_strict_unparsed": Label("POPE unreadable, strict match", "%"),
}
"""Every figure of a split, in the order of the table."""

CURVE_FIGURES = ("chair_s", "chair_i", "recall", "length", "present_per_answer")
"""Measured at every end-of-sequence bias (`csrdata.evaluation.equal_recall`)."""
AT_RECALL = {name: f"{name}_at_recall" for name in CURVE_FIGURES}
"""What they are called at the bias that gives the base's recall. A scorecard does not have them: it is of one bias."""

TRUTH_FIGURES = ("chair_s", "chair_i", "recall", "present_per_answer")
"""Absent where the objects of the images are unknown."""


@dataclass(frozen=True, eq=False)
class Scorecard:
    """One policy's figures on one split."""

    images: tuple[str, ...]
    """The order of the ratios' rows."""
    ratios: Mapping[str, Ratio]
    """By names of `FIGURES`: those that were measured."""
    false_by_kind: Mapping[str, float] | None
    """Absent objects named per 100 answers, by kind of mistake; None where the truth or the kinds are unknown."""

    def values(self) -> dict[str, float | None]:
        """The figures without their intervals."""
        return {name: ratio.value for name, ratio in self.ratios.items()}


@dataclass(frozen=True)
class Known:
    """What is known about a split's images."""

    truths: Mapping[str, Truth]
    """By image: one for each image that a description is asked of."""
    parser: ClaimParser


def scorecards(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    known: Mapping[str, Known],
    *,
    made_by: str,
) -> dict[str, Scorecard]:
    """Measure a policy's answers, by split.

    Args:
        questions: of all splits, in any order; the order of a split's images is that of its descriptions, then that of
            its other questions. Yes and no questions of an image pair up in their order.
        answers: one for each question, in any order.
        known: by split; a split that is missing has no figures that need the truth.
        made_by: the command that makes the answers, for the error's last words.

    Raises:
        UserError: a question has no answer, or `check_questions` refuses them.
    """
    check_questions(questions, known)
    given = {answer.question_id: answer for answer in answers}
    for question in questions:
        if question.question_id not in given:
            place = f"question {question.question_id}"
            raise UserError(place, got="no answer", expected="one answer for each question", do=made_by)
    splits = dict.fromkeys(question.split for question in questions)
    return {
        split: _scorecard(
            [question for question in questions if question.split == split], given, known.get(split)
        )
        for split in splits
    }


def check_questions(questions: Sequence[Question], known: Mapping[str, Known]) -> None:
    """Validate what is needed to measure the answers to some questions; it can be known before they are answered.

    Args:
        questions: of all splits, in any order.
        known: as in `scorecards`.

    Raises:
        UserError: an image has no truth in a split whose truth is known.
    """
    for question in questions:
        if question.split in known and question.image not in known[question.split].truths:
            place, got = f"question {question.question_id}", f"nothing known about {question.image}"
            expected = "the truth about its image"
            raise UserError(place, got=got, expected=expected, do="dvc repro sample_prompts")


def _scorecard(questions: Sequence[Question], given: Mapping[str, Answer], known: Known | None) -> Scorecard:
    describing = [question for question in questions if question.kind == Kind.DESCRIBE]
    asking = [question for question in questions if question.kind == Kind.YES_NO]
    images = list(dict.fromkeys(question.image for question in (*describing, *asking)))
    found: dict[str, Ratio] = {}
    kinds = None
    if describing:
        descriptions = [given[question.question_id] for question in describing]
        found |= _always(descriptions)
        if known is not None:
            counts = [
                chair.count_claims(answer.text, known.truths[question.image], known.parser)
                for question, answer in zip(describing, descriptions, strict=True)
            ]
            found |= chair.ratios(counts, details=known.parser.tells_details)
            kinds = chair.false_by_kind(counts) if known.parser.tells_details else None
        rows = {image: row for row, image in enumerate(images)}
        groups = [rows[question.image] for question in describing]
        found = {name: one.grouped(groups, count=len(images)) for name, one in found.items()}
    if asking:
        replies = [
            pope.YesNoReply(
                question.image, _side(question), question.negative, given[question.question_id].text
            )
            for question in asking
        ]
        found |= pope.ratios(replies, images)
    return Scorecard(tuple(images), {name: found[name] for name in FIGURES if name in found}, kinds)


def _always(descriptions: Sequence[Answer]) -> dict[str, Ratio]:
    """Return what needs no truth, one entry per description."""
    relevances = [answer.relevance for answer in descriptions]
    held_out = [answer.relevance_held_out for answer in descriptions]
    # Without a held-out scorer no answer has its relevance; an answer without words has neither.
    has_held_out = any(value is not None for value in held_out) or all(value is None for value in relevances)
    return {
        **prose.ratios([prose.count_prose(answer.text) for answer in descriptions]),
        "finished": percentage([answer.finished for answer in descriptions], [1] * len(descriptions)),
        "loglik_base": ratio(
            [answer.logprob_base or 0.0 for answer in descriptions],
            # An answer whose log-probability is not known weighs nothing.
            [0 if answer.logprob_base is None else answer.tokens for answer in descriptions],
        ),
        "relevance": _mean_of_known(relevances),
        **({"relevance_held_out": _mean_of_known(held_out)} if has_held_out else {}),
    }


def _mean_of_known(values: Sequence[float | None]) -> Ratio:
    """The mean over the answers that have a value."""
    return ratio([value or 0.0 for value in values], [value is not None for value in values])


def _side(question: Question) -> Side:
    """Return a yes/no question's right answer.

    Raises:
        UserError: it has none.
    """
    if question.answer in set(Side):
        return Side(question.answer)
    place = f"question {question.question_id}: answer"
    raise UserError(place, got=question.answer, expected="yes or no", do="dvc repro sample_prompts")
