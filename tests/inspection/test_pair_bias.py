"""Figures of any table of pairs, computed by hand on a few rows."""

import polars as pl
import pytest

from csrdata.inspection.lengths import words_of
from csrdata.inspection.near_duplicates import near
from csrdata.inspection.pair_bias import OTHERS, numbers, pair_table
from csrdata.inspection.stats import stats
from csrdata.inspection.wording import LONGEST, MOST_FIRST_WORDS, FirstWord, Wording
from csrdata.records import Pair
from csrdata.search.words import word_count
from csrdata.storage.tables import schema
from tests.inspection.made import EMPTY, ITERATION

ROWS = {
    "prompt": ["a", "a", "b", "b"],
    "chosen": ["x y z", "x y z", "q", "q w"],
    "rejected": ["x", "x", "q r", "q"],
    "chosen_reward": [3.0, 3.0, 1.0, 2.0],
    "rejected_reward": [1.0, 1.0, 0.5, 1.0],
    "chosen_reward_held_out": [2.0, 2.0, 0.0, None],
    "rejected_reward_held_out": [1.0, 1.0, 4.0, 1.0],
}


def _complete(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Return pairs with the columns of `Pair`, in order; what a table lacks is null, or the default of `Pair`."""
    known = pairs.collect_schema()
    defaults = {"number": 0, "context": "", "chosen_complete": True, "rejected_complete": True}
    return pairs.select(
        (pl.col(name) if name in known else pl.lit(defaults.get(name))).cast(dtype).alias(name)
        for name, dtype in schema(Pair).items()
    )


def test_words_are_those_of_word_count() -> None:
    """The expression counts what `word_count` counts, in any script and with any white space, in long columns too."""
    plain = ["", " ", "a", " a b ", "a  b\tc\n", "x\x1cy\x0bz", "\0 \x1b", "a.\nb", ""]
    other = ["这是iPhone手机。", "é è", None, "a\u00a0b", "x y"]
    for texts in ([], plain, plain * 3000, other, [*other, *plain] * 2000, [None]):
        counted = pl.DataFrame({"a": texts}, schema={"a": pl.String}).select(words_of("a"))
        assert counted.to_series().to_list() == [None if text is None else word_count(text) for text in texts]


def test_length_bias_by_hand() -> None:
    """Three of four chosen sides are longer: taking the longer one is right in 75%; r is that of all eight sides."""
    found = pair_table(numbers(_complete(pl.LazyFrame(ROWS)))).length
    assert (found.chosen_longer, found.chosen_shorter, found.equal_length) == (75, 25, 0)
    assert (found.length_only_accuracy, found.length_only_picks) == (75, "longer")
    sides = pl.DataFrame(
        {"reward": [3.0, 3.0, 1.0, 2.0, 1.0, 1.0, 0.5, 1.0], "words": [3, 3, 1, 2, 1, 1, 2, 1]}
    )
    assert found.reward_length_correlation == pytest.approx(sides.select(pl.corr("reward", "words")).item())


def _wording(*sides: tuple[str, str]) -> Wording:
    """Return the figures of first words of pairs that are given as chosen and rejected."""
    chosen, rejected = zip(*sides, strict=True)
    rows = {"prompt": ["p"] * len(sides), "chosen": chosen, "rejected": rejected}
    return pair_table(numbers(_complete(pl.LazyFrame(rows)))).wording


def test_the_first_word_alone_by_hand() -> None:
    """A pair is judged by the other pairs: three of four in which "The" wins teach the rule, the fourth is wrong by it."""
    found = _wording(("The a", "There b"), (" The c", "There d"), ("The e", "There f"), ("There g", "The h"))
    # In the others, "The" is chosen in 2 of 3, "There" in 1 of 3; for the last pair 3 of 3 and 0 of 3.
    assert (found.compared, found.first_word_only_accuracy) == (4, 75)
    assert found.first_words == [FirstWord("The", 75, 25), FirstWord("There", 25, 75)]


def test_the_first_word_says_nothing_where_it_cannot() -> None:
    """Sides that begin alike, words that no other pair has, and one pair alone count half; a side without a word not at all."""
    assert _wording(("A x", "A y"), ("A z", "A q")).first_word_only_accuracy == 50
    assert _wording(("A x", "B y")).first_word_only_accuracy == 50
    assert _wording(("A x", "B y"), ("C x", "D y")).first_word_only_accuracy == 50
    assert _wording(("A x", ""), ("", "B y"), (" ", "C")) == Wording(0, None, [])


def test_first_words_are_limited() -> None:
    """A text without spaces is cut, and only the most frequent words are listed, equal ones in alphabetical order."""
    assert [one.word for one in _wording(("x" * 100, "y")).first_words] == ["x" * LONGEST, "y"]
    many = _wording(*((f"w{number:02}", "z") for number in range(40)))
    assert [one.word for one in many.first_words] == [
        "z",
        *(f"w{number:02}" for number in range(MOST_FIRST_WORDS - 1)),
    ]
    assert many.first_word_only_accuracy == 100


def test_the_scorers_agree_where_both_rewards_are_known() -> None:
    """A pair without a held-out reward does not count; the largest disagreement comes first."""
    found = pair_table(numbers(_complete(pl.LazyFrame(ROWS)))).scorers
    assert found.pairs == 3
    assert found.held_out_agrees == pytest.approx(200 / 3)
    assert [(one.margin, one.held_out_margin) for one in found.largest_disagreements] == [(0.5, -4.0)]


def test_copies_and_origins_are_counted() -> None:
    """The second row is a copy of the first; more origins than are listed are counted together."""
    found = pair_table(numbers(_complete(pl.LazyFrame(ROWS))))
    assert (found.variety.prompts, found.variety.images, found.variety.exact_duplicates) == (2, None, 1)
    many = pl.LazyFrame({"prompt": ["p"] * 60, "chosen": ["a"] * 60, "rejected": ["b"] * 60}).with_columns(
        origin=pl.format("o{}", pl.int_range(pl.len()))
    )
    origins = pair_table(numbers(_complete(many))).origins
    assert origins[OTHERS].pairs == 10
    assert sum(one.pairs for one in origins.values()) == 60


def test_near_duplicates_are_about_the_same_image() -> None:
    """One word of forty differs: a near duplicate with the same image, none with another; other texts are none."""
    text = " ".join(f"word{number}" for number in range(40))
    texts = [text, text.replace("word39", "end"), text, "something else entirely is said here"]
    assert near(texts, ["i", "i", "j", "i"]) == 1
    assert near([text] * 200, ["i"] * 200) == 199


def test_the_image_term_flips_the_only_choice() -> None:
    """The best answer by reward is not the likelier one; without answers there is no such figure."""
    assert stats(ITERATION).responses.best_answer_flipped == 100
    assert stats(EMPTY).responses.best_answer_flipped is None
    assert {depth: one.candidates for depth, one in stats(ITERATION).by_depth.items()} == {"depth_1": 3}
