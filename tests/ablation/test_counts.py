"""Counts per image: what they count, what they give, and their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrdata.ablation.counts import FIGURES, Counts, count, decode, encode, read_counts
from csrdata.errors import UserError
from csrdata.evaluation.scorecard import Known, scorecards
from csrdata.records import Answer, Kind, Question
from csrdata.storage.json_values import JsonValue
from tests.evaluation.scenes import CIRCLE, HEART, READER, STAR, TRUTH, text

OTHER = "other.png"
KNOWN = {"held_out": Known({TRUTH.image: TRUTH, OTHER: TRUTH}, READER)}
QUESTIONS = [
    Question(name, split, Kind.DESCRIBE, image, "Describe.", None, None)
    for name, split, image in (
        ("a", "held_out", TRUTH.image),
        ("b", "held_out", OTHER),
        ("c", "held_out", OTHER),
        ("d", "prompts", "unknown.png"),
    )
]
TEXTS = {"a": text(CIRCLE, HEART, HEART), "b": text(CIRCLE, STAR), "c": "", "d": CIRCLE}


def test_each_image_is_one_entry() -> None:
    """Answers about one image add up; a split without truth has no counts."""
    found = count(QUESTIONS, TEXTS, KNOWN)
    words = [len(TEXTS[name].split()) for name in "abc"]
    assert found == {
        "held_out": Counts(
            answers=(1, 2),
            false=(1, 0),
            absent=(2, 0),
            mentions=(3, 2),
            named=(1, 2),
            present=(2, 4),
            words=(words[0], words[1] + words[2]),
        )
    }


def test_the_figures_are_the_scorecards() -> None:
    """Every figure that counts give has the value that the evaluation gives for the same answers."""
    answers = [Answer(name, said, 10, True, -5.0, None, None) for name, said in TEXTS.items()]
    card = scorecards(QUESTIONS, answers, KNOWN, made_by="")["held_out"]
    found = count(QUESTIONS, TEXTS, KNOWN)["held_out"].ratios()
    assert {name: one.value for name, one in found.items()} == {
        name: card.ratios[name].value for name in FIGURES
    }


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ((0, 2, 1), "021"),
        ((8, 12), "2:0812"),
        ((1, 1, 1, 1), "4*1"),
        ((12,), "1*12"),
        ((1, 0, 1), "3#a"),  # 101 and one bit to fill up: 1010
        ((0, 0, 0, 1, 1), "5#18"),
        ((), ""),
    ],
)
def test_a_column_is_short_text(column: tuple[int, ...], words: str) -> None:
    """A digit each, or as many as the largest needs; equal counts by their number; zeros and ones four to a digit."""
    assert encode(column) == words
    assert decode(words) == column


@given(st.lists(st.integers(min_value=0, max_value=10**6)).map(tuple))
def test_text_is_read_as_it_was_written(column: tuple[int, ...]) -> None:
    """Any counts come back."""
    assert decode(encode(column)) == column


@pytest.mark.parametrize(
    "words",
    ["0x2", "1,2", "*", "3*", "a", "-1", "9" * 12 + "*1", "\u0661\u0662", "2:123", "0:1", "x:1", "3#", "3#aa", "3#b", "3#g", "9999999*1"],
)  # fmt: skip
def test_what_is_no_column_is_refused(words: str) -> None:
    """Other text is no counts; the error of a file names the column."""
    assert decode(words) is None
    good = Counts((1,), (1,), (1,), (1,), (1,), (1,), (1,)).as_json()
    from pathlib import Path

    value = JsonValue(good | {"absent": words}, Path("0.json"), "make ablation", ("counts",))
    with pytest.raises(UserError, match=r"^0\.json: counts\.absent: got .*, expected one count per image"):
        read_counts(value)


def test_columns_have_one_length() -> None:
    """A column that lost an image is refused: nothing would pair up."""
    from pathlib import Path

    good = Counts((1, 1), (0, 1), (0, 1), (1, 1), (1, 1), (1, 1), (9, 8)).as_json()
    assert read_counts(JsonValue(good, Path("0.json"), "x")).words == (9, 8)
    with pytest.raises(UserError, match=r"words: got 987"):
        read_counts(JsonValue(good | {"words": "987"}, Path("0.json"), "x"))
