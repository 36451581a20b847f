"""Repetition as the cosine of bags of words, against values computed by hand."""

import pytest

from csrdata.relevance.word_repetition import word_repetition
from csrdata.search.words import words


def test_cosines_by_hand() -> None:
    """{red, circle} with {red, star}: 1 / sqrt(2 * 2); with {red, red, circle}: 3 / sqrt(2 * 5); the largest counts."""
    texts = ["A red circle."] * 4
    earlier = [("A red star.",), ("red red circle",), ("A red star.", "I see a RED circle!"), ()]
    assert word_repetition(texts, earlier) == pytest.approx([0.5, 3 / 10**0.5, 1.0, 0.0])


def test_function_words_make_no_repetition() -> None:
    """Two sentences of one pattern about different things share only words that say little."""
    sentence, other = "There is a red circle at the top left.", "There is a blue star at the bottom right."
    assert word_repetition([sentence], [(other,)]) == [0.0]
    assert word_repetition(["There it is."], [("There it is.",)]) == [0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a red circle.", ["it's", "a", "red", "circle"]),
        ('"Stop!" (he said) -', ["stop", "he", "said"]),
        ("这是iPhone手机。", ["这", "是", "iphone", "手", "机"]),
        ("빨간 원이 있다.", ["빨간", "원이", "있다"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Lower case without punctuation; letters are the words of a script without spaces."""
    assert words(text) == expected
