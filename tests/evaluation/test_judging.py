"""How well a policy judges: agreement with itself, and with the truth."""

import pytest

from csrdata.errors import UserError
from csrdata.evaluation.judging import JudgingFigures, judging_figures
from csrdata.records import Response, Truth, Verdict
from tests.evaluation.scenes import CIRCLE, HEART, READER, STAR, TRUTH, text

TRUTHS: dict[str, Truth] = {f"p{index}": TRUTH for index in range(6)}


def response(prompt: str, leaf: int, said: str) -> Response:
    return Response(prompt, leaf, said, 5, 1, 5, -1.0, 0.0, 0.0, 0.0, None, None, True, True)


def answers(prompt: str, first: str, second: str) -> list[Response]:
    return [response(prompt, 1, first), response(prompt, 2, second)]


def verdict(prompt: str, forward: str | None, backward: str | None) -> Verdict:
    return Verdict(prompt, 1, 2, forward, backward, None, None)


def test_the_named_answer_should_be_the_truer_one() -> None:
    """By hand: six judged, four agree; two of them differ in truth, one of which names the truer answer."""
    rows = [
        *answers("p0", text(CIRCLE, STAR), text(CIRCLE, HEART)),  # 0 against 1/2: right
        *answers("p1", text(CIRCLE, HEART), CIRCLE),  # 1/2 against 0: wrong
        *answers("p2", CIRCLE, STAR),  # equally true
        *answers("p3", CIRCLE, "Hello."),  # says nothing
        *answers("p4", CIRCLE, HEART),  # a tie
        *answers("p5", CIRCLE, HEART),  # unreadable
    ]
    verdicts = [
        verdict("p0", "first", "first"),
        verdict("p1", "first", "first"),
        verdict("p2", "second", "second"),
        verdict("p3", "first", "first"),
        verdict("p4", "first", "second"),
        verdict("p5", None, None),
    ]
    found = judging_figures(verdicts, rows, TRUTHS, READER)
    assert found == JudgingFigures(judged=6, agreed=pytest.approx(400 / 6), compared=2, accuracy=50.0)


def test_without_truth_only_agreement_is_known() -> None:
    """Without a parser nothing is compared; without verdicts there is no percentage."""
    rows = answers("p0", CIRCLE, HEART)
    assert judging_figures([verdict("p0", "first", "first")], rows, {}, None) == JudgingFigures(
        1, 100.0, 0, None
    )
    assert judging_figures([], rows, TRUTHS, READER) == JudgingFigures(0, None, 0, None)


def test_a_verdict_on_a_missing_answer_is_one_line() -> None:
    """The prompt, the leaf and the next command are named."""
    with pytest.raises(UserError, match=r"verdict of prompt p0: got leaf 2, .*dvc repro judge_answers"):
        judging_figures([verdict("p0", "first", "first")], [response("p0", 1, CIRCLE)], TRUTHS, READER)
