"""All figures of one policy's answers, split by split: what is measured, and in what unit.

Answers are held against the truth once; what remains are ratios over a split's images (`intervals.Ratio`),
the images in the order of the questions, so that two policies' ratios pair up image by image.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.errors import UserError
from csrdata.evaluation import chair, pope
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
    "pope_f1": Label("POPE F1", "%"),
    "pope_yes_rate": Label("POPE yes-rate", "%"),
    "pope_unparsed": Label("POPE neither yes nor no", "%"),
}
"""Every figure of a split, in the order of the table."""


@dataclass(frozen=True, eq=False)
class Scorecard:
    """One policy's figures on one split."""

    images: tuple[str, ...]
    """The order of the ratios' rows."""
    ratios: Mapping[str, Ratio]
    """By names of `FIGURES`: those that were measured."""
    false_by_kind: Mapping[str, float] | None
    """Absent objects named per 100 answers, by kind of mistake; None where the truth is unknown."""

    def values(self) -> dict[str, float | None]:
        """The figures without their intervals."""
        return {name: ratio.value for name, ratio in self.ratios.items()}


def scorecards(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    truths: Mapping[str, Truth],
    reader: ClaimParser,
    *,
    made_by: str,
) -> dict[str, Scorecard]:
    """Measure a policy's answers, by split.

    Args:
        questions: see `check_questions`.
        answers: one for each question, in any order.
        truths: by image.
        made_by: the command that makes the answers, for the error's last words.

    Raises:
        UserError: a question has no answer, or `check_questions` refuses them.
    """
    check_questions(questions, truths)
    given = {answer.question_id: answer for answer in answers}
    for question in questions:
        if question.question_id not in given:
            place = f"question {question.question_id}"
            raise UserError(place, got="no answer", expected="one answer for each question", do=made_by)
    splits = dict.fromkeys(question.split for question in questions)
    return {
        split: _scorecard(
            [question for question in questions if question.split == split], given, truths, reader
        )
        for split in splits
    }


def check_questions(questions: Sequence[Question], truths: Mapping[str, Truth]) -> None:
    """Validate what is needed to measure the answers to some questions; it can be known before they are answered.

    Args:
        questions: of all splits, in any order.
        truths: by image.

    Raises:
        UserError: an image has no truth, or a split does not ask exactly once to describe each of its images.
    """
    describing = Counter((row.split, row.image) for row in questions if row.kind == Kind.DESCRIBE)
    for question in questions:
        place, do = f"question {question.question_id}", "dvc repro sample_prompts"
        if question.image not in truths:
            got = f"nothing known about {question.image}"
            raise UserError(place, got=got, expected="the truth about its image", do=do)
        count = describing[question.split, question.image]
        if count != 1:
            got = f"{count} questions that ask to describe {question.image}"
            raise UserError(place, got=got, expected="1", do=do)


def _scorecard(
    questions: Sequence[Question],
    given: Mapping[str, Answer],
    truths: Mapping[str, Truth],
    reader: ClaimParser,
) -> Scorecard:
    describing = [question for question in questions if question.kind == Kind.DESCRIBE]
    images = [question.image for question in describing]
    descriptions = [given[question.question_id] for question in describing]
    claim_counts = [
        chair.count_claims(answer.text, truths[image], reader)
        for image, answer in zip(images, descriptions, strict=True)
    ]
    yes_no_answers = [
        pope.YesNoAnswer(question.image, _side(question), pope.parse_yes_no(given[question.question_id].text))
        for question in questions
        if question.kind == Kind.YES_NO
    ]
    found = {
        **chair.ratios(claim_counts),
        "finished": percentage([answer.finished for answer in descriptions], [1] * len(descriptions)),
        "loglik_base": ratio(
            [answer.logprob_base or 0.0 for answer in descriptions],
            # An answer whose log-probability is not known weighs nothing.
            [0 if answer.logprob_base is None else answer.tokens for answer in descriptions],
        ),
        "relevance": _mean_of_known([answer.relevance for answer in descriptions]),
        "relevance_held_out": _mean_of_known([answer.relevance_held_out for answer in descriptions]),
        **pope.ratios(yes_no_answers, images),
    }
    return Scorecard(
        tuple(images), {name: found[name] for name in FIGURES}, chair.false_by_kind(claim_counts)
    )


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
