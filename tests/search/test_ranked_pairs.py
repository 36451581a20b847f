"""Pairs from ordered lists on small examples, and their invariants on random ones."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrdata.records import CSR_SEARCH, Dropped, Pair, Response
from csrdata.search.ranked_pairs import make, select
from tests.search.test_answer_pairs import PROMPT, answer, leaves, reason

ANY: dict[str, Any] = {"answers": 3, "margin": 0.0, "max_length_gap": 1.0}


def sides(outcome: list[Pair] | Dropped) -> list[tuple[int, int]]:
    assert isinstance(outcome, list), outcome
    return [leaves(pair) for pair in outcome]


def test_every_two_of_a_list_are_a_pair() -> None:
    """Of five rewards 9 7 6 5 1, the best, the middle and the worst: three pairs, the widest first, numbered from 0."""
    rows = [answer(leaf, reward) for leaf, reward in enumerate((5.0, 9.0, 1.0, 6.0, 7.0))]
    found = select(PROMPT, rows, **ANY)
    assert sides(found) == [(1, 2), (3, 2), (1, 3)]
    assert isinstance(found, list)
    assert [(pair.number, pair.origin, pair.scores.margin) for pair in found] == [
        (0, CSR_SEARCH, 8.0),
        (1, CSR_SEARCH, 5.0),
        (2, CSR_SEARCH, 3.0),
    ]


def test_a_list_may_be_shorter() -> None:
    """Two answers are one pair; a list of two has the best and the worst."""
    rows = [answer(0, 2.0), answer(1, 3.0)]
    assert sides(select(PROMPT, rows, **ANY)) == [(1, 0)]
    three = [*rows, answer(2, 2.5)]
    assert sides(select(PROMPT, three, **ANY | {"answers": 2})) == [(1, 0)]


def test_only_whole_answers_count_and_each_text_once() -> None:
    """Of equal texts the one with the highest reward; unfinished, empty and uncanonical answers are no sides."""
    rows = [
        answer(0, 9.0, finished=False),
        answer(1, 8.0, canonical=False),
        answer(2, 7.0, text="  "),
        answer(3, 4.0, text="same"),
        answer(4, 5.0, text=" same "),
        answer(5, 1.0),
    ]
    assert sides(select(PROMPT, rows, **ANY)) == [(4, 5)]


def test_pairs_that_are_too_close_or_of_other_lengths_are_left_out() -> None:
    """A margin, and a share of the words, apply to each pair by itself."""
    rows = [answer(0, 5.0, words=10), answer(1, 4.5, words=10), answer(2, 1.0, words=5)]
    assert sides(select(PROMPT, rows, **ANY | {"margin": 1.0})) == [(0, 2), (1, 2)]
    assert sides(select(PROMPT, rows, **ANY | {"max_length_gap": 0.2})) == [(0, 1)]


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        (
            [answer(0, 1.0), answer(1, 2.0, finished=False)],
            {},
            ("no_response", "2 answers, 1 finished, 1 of them"),
        ),
        (
            [answer(0, 1.0, text="a"), answer(1, 2.0, text="a")],
            {},
            ("equal_texts", "all answers have one text"),
        ),
        ([answer(0, 1.0), answer(1, 2.0)], {"margin": 3.0}, ("under_margin", "largest difference 1 < 3")),
        (
            [answer(0, 1.0, words=2), answer(1, 2.0)],
            {"max_length_gap": 0.5},
            ("length_gap", "no two of a list of 2 answers within a length gap of 0.5"),
        ),
        (
            [answer(0, 1.0, words=2), answer(1, 2.0), answer(2, 2.1)],
            {"max_length_gap": 0.5, "margin": 1.0},
            ("length_gap", "largest difference 0.1 < 1 within a length gap of 0.5; 1.1 without"),
        ),
    ],
)
def test_the_reason_for_no_pair(
    rows: list[Response], settings: dict[str, Any], said: tuple[str, str]
) -> None:
    """One row for the prompt, with its figures."""
    (found,) = make([PROMPT], {PROMPT.prompt_id: rows}, **ANY | settings)
    assert isinstance(found, Dropped)
    assert (reason(found), found.detail[: len(said[1])]) == said


def test_a_reward_that_is_no_number_is_an_error() -> None:
    """It would have no place in the list."""
    with pytest.raises(ValueError, match="prompt p1: leaf 1: the reward is nan, expected a finite number"):
        select(PROMPT, [answer(0, 1.0), answer(1, float("nan"))], **ANY)


@given(
    rewards=st.lists(st.integers(-20, 20), min_size=2, max_size=12),
    length=st.integers(2, 6),
    margin=st.integers(0, 5),
)
def test_a_list_has_both_ends_and_all_its_pairs(rewards: list[int], length: int, margin: int) -> None:
    """At most K (K - 1) / 2 pairs; best and worst are the first one; chosen is higher by the margin or more."""
    rows = [answer(leaf, float(reward)) for leaf, reward in enumerate(rewards)]
    found = select(PROMPT, rows, answers=length, margin=float(margin), max_length_gap=1.0)
    if isinstance(found, Dropped):
        assert max(rewards) - min(rewards) < margin
        return
    listed = {leaf for pair in found for leaf in leaves(pair)}
    assert len(listed) <= length
    high, low = leaves(found[0])
    assert (rewards[high], rewards[low]) == (max(rewards), min(rewards))
    values = [pair.scores.margin for pair in found]
    assert values == sorted(values, key=lambda value: -(value or 0.0))
    assert all(value is not None and value >= margin for value in values)
    wide = [
        two for two in combinations(sorted(listed), 2) if abs(rewards[two[0]] - rewards[two[1]]) >= margin
    ]
    assert sorted(tuple(sorted(leaves(pair))) for pair in found) == wide
