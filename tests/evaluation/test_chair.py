"""CHAIR and the figures reported with it, on a scene of a yellow circle and a blue star."""

import pytest

from csrdata.evaluation import chair
from tests.evaluation.scenes import (
    BROKEN,
    CIRCLE,
    HEART,
    READER,
    RING,
    STAR,
    TRUTH,
    WRONG_COLOUR,
    WRONG_PLACE,
    text,
)


def _values(*answers: str) -> dict[str, float | None]:
    counts = [chair.count_claims(answer, TRUTH, READER) for answer in answers]
    return {name: ratio.value for name, ratio in chair.ratios(counts, details=True).items()}


def test_a_true_description_is_faultless() -> None:
    """An answer that names every object correctly has no hallucination, no error and full recall."""
    found = _values(text(CIRCLE, STAR))
    assert found == {
        "chair_s": 0,
        "chair_i": 0,
        "recall": 100,
        "present_per_answer": 2,
        "attribute_errors": 0,
        "well_formed": 100,
    }


def test_chair_s_counts_answers_and_chair_i_mentions() -> None:
    """Two answers, one with two absent objects of four mentions in all: CHAIR_S 50, CHAIR_I 50."""
    found = _values(text(CIRCLE, STAR), text(HEART, RING))
    assert found["chair_s"] == 50
    assert found["chair_i"] == 50
    assert found["recall"] == 50


def test_an_object_named_twice_is_two_mentions_but_recalled_once() -> None:
    """CHAIR_I counts mentions, as the original does; recall counts different objects."""
    found = _values(text(CIRCLE, CIRCLE, HEART))
    assert found["chair_i"] == pytest.approx(100 / 3)
    assert found["recall"] == 50
    assert found["present_per_answer"] == 1


def test_a_present_object_in_a_wrong_colour_or_place_is_an_attribute_error() -> None:
    """A wrong colour is not a hallucinated object: CHAIR is 0; errors are shares of the mentions of present objects."""
    found = _values(text(CIRCLE, WRONG_COLOUR), text(CIRCLE, WRONG_PLACE, HEART))
    assert found["attribute_errors"] == 50
    assert chair.count_claims(WRONG_COLOUR, TRUTH, READER).absent == 0


def test_broken_language_does_not_hide_what_was_made_up() -> None:
    """Absent shapes count also in a malformed sentence; their attributes are unknown."""
    found = chair.count_claims(text(BROKEN, STAR), TRUTH, READER)
    assert (found.mentions, found.absent, found.present_named) == (3, 1, 2)
    assert (found.well_formed, found.sentences, found.attribute_errors) == (1, 2, 0)


def test_an_empty_answer_lowers_recall_and_divides_by_nothing() -> None:
    """An empty answer has no hallucination and no recall, and its CHAIR_I is undefined."""
    found = _values("")
    assert found["chair_s"] == 0
    assert found["recall"] == 0
    assert found["chair_i"] is None
    assert found["well_formed"] is None


def test_false_mentions_are_counted_by_kind() -> None:
    """A garden's absent heart is a stereotype, a ring in the circle's place a look-alike; per 100 answers."""
    counts = [
        chair.count_claims(answer, TRUTH, READER) for answer in (text(HEART, RING), text(HEART), STAR, STAR)
    ]
    assert chair.false_by_kind(counts) == {"look_alike": 25, "stereotype": 50}
