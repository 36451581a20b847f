"""Which figures a split has: those that its questions and what is known about its images allow, and no other."""

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.scorecard import AT_RECALL, FIGURES, Known, Scorecard, scorecards
from csrdata.records import Answer, Kind, Question, Side
from csrdata.storage.values import NEGATIVES
from tests.evaluation.scenes import CIRCLE, HEART, READER, STAR, TRUTH, text

ALWAYS = {"length", "repetition", "finished", "loglik_base", "relevance", "relevance_held_out"}
CLAIMS = {"chair_s", "chair_i", "recall", "present_per_answer", "attribute_errors", "well_formed"}
POPE = {name for name in FIGURES if name.startswith("pope_")}
KINDS = {f"pope_accuracy_{kind}" for kind in NEGATIVES}
KNOWN = {"held_out": Known({TRUTH.image: TRUTH}, READER)}


def _describe(name: str, image: str = TRUTH.image) -> Question:
    return Question(name, "held_out", Kind.DESCRIBE, image, "Describe.", None, None)


def _ask(name: str, side: Side, image: str = TRUTH.image, *, negative: str | None = None) -> Question:
    return Question(name, "held_out", Kind.YES_NO, image, "A star?", side, negative)


def _answer(question: Question, said: str, *, held_out: float | None = 20.0) -> Answer:
    if question.kind == Kind.YES_NO:
        return Answer(question.question_id, said, 2, True, None, None, None)
    return Answer(
        question.question_id, said, 10, True, -5.0, 30.0 if said else None, held_out if said else None
    )


def _card(questions: list[Question], answers: list[Answer], known: dict[str, Known]) -> Scorecard:
    return scorecards(questions, answers, known, made_by="dvc repro")["held_out"]


def test_every_figure_has_its_reason() -> None:
    """Descriptions give text, relevance, likelihood; truth adds claims, questions POPE; no scorecard is at equal recall."""
    both = [_describe("a"), _ask("b", Side.YES)]
    answers = [_answer(both[0], CIRCLE), _answer(both[1], "Yes.")]
    measured = set(FIGURES) - set(AT_RECALL.values())
    assert set(_card(both, answers, KNOWN).ratios) == ALWAYS | CLAIMS | POPE - KINDS
    assert set(_card(both[:1], answers, {}).ratios) == ALWAYS
    assert set(_card(both[1:], answers, {}).ratios) == POPE - KINDS
    every = [*both, *(_ask(kind, Side.NO, negative=kind) for kind in NEGATIVES)]
    answers += [_answer(question, "No.") for question in every[2:]]
    assert set(_card(every, answers, KNOWN).ratios) == ALWAYS | CLAIMS | POPE == measured
    assert set(_card(every[:3], answers, {}).ratios) & KINDS == {"pope_accuracy_random"}
    assert _card(both, answers, {}).false_by_kind is None
    assert scorecards([], [], {}, made_by="") == {}


def test_without_a_held_out_scorer_its_relevance_is_absent() -> None:
    """Null in every answer with words is no measurement; an answer without words says nothing about the scorer."""
    question = _describe("a")
    absent = _card([question], [_answer(question, CIRCLE, held_out=None)], {})
    assert set(absent.ratios) == ALWAYS - {"relevance_held_out"}
    assert _card([question], [_answer(question, "")], {}).values()["relevance_held_out"] is None


def test_several_descriptions_of_an_image_are_one_entry() -> None:
    """The image is what is resampled: two answers about it add up to one entry of every ratio."""
    questions = [_describe("a"), _describe("b"), _describe("c", "other.png")]
    answers = [
        _answer(question, said)
        for question, said in zip(questions, (text(CIRCLE, HEART), STAR, CIRCLE), strict=True)
    ]
    card = _card(questions, answers, {})
    assert card.images == (TRUTH.image, "other.png")
    words = [len(f"{CIRCLE} {HEART} {STAR}".split()), len(CIRCLE.split())]
    assert card.ratios["length"].numerators.tolist() == words
    assert card.ratios["length"].denominators.tolist() == [2, 1]


def test_an_image_without_a_description_has_its_questions_counted() -> None:
    """POPE asks about images that nobody describes."""
    questions = [_ask("a", Side.YES, "1.png"), _ask("b", Side.NO, "2.png")]
    card = _card(questions, [_answer(questions[0], "Yes."), _answer(questions[1], "Well.")], {})
    values = card.values()
    assert (values["pope_accuracy"], values["pope_unparsed"]) == (50, 50)
    assert (values["pope_keyword_accuracy"], values["pope_keyword_yes_rate"]) == (50, 100)
    assert (values["pope_strict_accuracy"], values["pope_strict_unparsed"]) == (50, 50)


def test_a_described_image_without_truth_is_one_line() -> None:
    """Where a split's truth is known it must be known of every image."""
    question = _describe("a", "other.png")
    with pytest.raises(
        UserError, match=r"question a: got nothing known about other.png, expected the truth about"
    ):
        _card([question], [_answer(question, CIRCLE)], KNOWN)
