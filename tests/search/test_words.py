"""The number of words: by white space, or by letters in scripts without spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrdata.search.words import word_count
from csrdata.sources.microworld.parsing import all_sentences


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n", 0),
        ("There is a red circle.", 5),
        (" A  red\ncircle - it's well-made ... ", 7),
        ("這是紅色的圓形。", 7),
        ("左边有一个红色的圆形，右边是蓝色的星星。", 18),
        ("これは赤い丸です。", 8),
        ("コーヒー", 4),
        ("มีวงกลมสีแดง", 10),
        ("ມີວົງມົນ", 5),
        ("មានរង្វង់", 6),
        ("စက်ဝိုင်း", 4),
        ("빨간 원이 왼쪽에 있다.", 4),
        ("Внизу красный круг.", 3),
        ("यह एक लाल वृत्त है।", 5),
        ("这是iPhone手机。", 5),
        ("红色circle 和 blue star", 6),
        ("有 3 个 3.5 米的圆", 7),
        ("。", 1),
    ],
)
def test_texts_of_many_scripts(text: str, words: int) -> None:
    """White space counts in scripts with spaces, letters in scripts without; a mixed text uses both."""
    assert word_count(text) == words


@given(st.text(st.characters(max_codepoint=0x0DFF)))
def test_scripts_with_spaces_count_as_ever(text: str) -> None:
    """European, Arabic, Hebrew and Indian texts are counted by white space."""
    assert word_count(text) == len(text.split())


def test_the_microworld_counts_as_ever() -> None:
    """No length of the shipped record changes."""
    assert all(word_count(sentence) == len(sentence.split()) for sentence in all_sentences())


@given(st.text(), st.text())
def test_texts_add_up(one: str, other: str) -> None:
    """Two texts joined by white space have the sum of their words."""
    assert word_count(f"{one} {other}") == word_count(one) + word_count(other)


def test_chinese_answers_differ_in_length() -> None:
    """A long Chinese answer is longer than a short one, so that the rules on length apply."""
    assert word_count("左边有一个红色的圆形，右边是蓝色的星星。") > 2 * word_count("有圆形。")
