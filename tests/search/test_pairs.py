"""`select` and `balance` on small examples, and their invariants on random ones."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrdata.records import Dropped, DropReason, Pair, Prompt, Response
from csrdata.search.pairs import balance, select
from csrdata.search.words import word_count
from tests.scores import without_scores

PROMPT = Prompt("p1", "images/1.png", "Describe the image.")


def answer(
    leaf: int,
    reward: float,
    *,
    text: str | None = None,
    words: int = 10,
    finished: bool = True,
    canonical: bool = True,
) -> Response:
    return Response(
        prompt_id=PROMPT.prompt_id,
        leaf_id=leaf,
        text=f"answer {leaf}" if text is None else text,
        words=words,
        sentences=1,
        tokens=words + 1,
        logprob=-float(leaf),
        reward=reward,
        likelihood=0.0,
        relevance=20.0 + leaf,
        relevance_held_out=10.0 + leaf,
        reward_held_out=reward / 2,
        finished=finished,
        canonical=canonical,
    )


def leaves(outcome: Pair | Dropped) -> tuple[int, int]:
    assert isinstance(outcome, Pair), outcome
    chosen, rejected = outcome.scores.chosen_leaf, outcome.scores.rejected_leaf
    assert chosen is not None
    assert rejected is not None
    return chosen, rejected


def reason(outcome: Pair | Dropped) -> str:
    assert isinstance(outcome, Dropped), outcome
    return outcome.reason


def pair(prompt_id: str, chosen_words: int, rejected_words: int, *, margin: float = 1.0) -> Pair:
    made = select(
        Prompt(prompt_id, "i.png", "?"),
        [
            answer(0, margin, words=chosen_words, text=" red" * chosen_words),
            answer(1, 0.0, words=rejected_words, text=" blue" * rejected_words),
        ],
        margin=0,
        max_length_gap=1,
    )
    assert isinstance(made, Pair)
    return made


def test_without_limits_it_is_the_papers_rule() -> None:
    """Without limits, chosen has the highest and rejected the lowest cumulative reward, at any length."""
    answers = [answer(0, 4.0), answer(1, 5.0, words=2), answer(2, 1.0, words=90), answer(3, 3.0)]
    assert leaves(select(PROMPT, answers, margin=0, max_length_gap=1)) == (1, 2)


def test_a_pair_carries_both_answers_figures() -> None:
    """Every figure of a pair is that of its chosen or rejected answer."""
    chosen, rejected = answer(0, 4.0, words=7), answer(1, 1.5, words=9)
    made = select(PROMPT, [rejected, chosen], margin=0, max_length_gap=1)
    assert isinstance(made, Pair)
    assert (made.prompt_id, made.image, made.prompt) == (PROMPT.prompt_id, PROMPT.image, PROMPT.text)
    assert made.scores.margin == 2.5
    for side, response in (("chosen", chosen), ("rejected", rejected)):
        assert getattr(made, side) == response.text
        assert getattr(made.scores, f"{side}_leaf") == response.leaf_id
        for name in ("reward", "reward_held_out", "relevance", "logprob", "tokens", "words"):
            assert getattr(made.scores, f"{side}_{name}") == getattr(response, name)


def test_answers_of_unlike_length_are_no_pair() -> None:
    """The pair has the largest difference among answers of similar length, even if a larger one exceeds the gap."""
    answers = [answer(0, 5.0, words=10), answer(1, 4.0, words=9), answer(2, 1.0, words=3)]
    assert leaves(select(PROMPT, answers, margin=0.5, max_length_gap=1)) == (0, 2)
    assert leaves(select(PROMPT, answers, margin=0.5, max_length_gap=0.5)) == (0, 1)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], DropReason.NO_RESPONSE),
        ([answer(0, 5.0)], DropReason.NO_RESPONSE),
        ([answer(0, 5.0), answer(1, 1.0, finished=False)], DropReason.NO_RESPONSE),
        ([answer(0, 5.0), answer(1, 1.0, canonical=False)], DropReason.NO_RESPONSE),
        ([answer(0, 5.0), answer(1, 1.0, text=" ")], DropReason.NO_RESPONSE),
        ([answer(0, 5.0, text="a"), answer(1, 1.0, text=" a\n")], DropReason.EQUAL_TEXTS),
        ([answer(0, 5.0), answer(1, 4.8)], DropReason.UNDER_MARGIN),
        ([answer(0, 5.0, words=20), answer(1, 1.0, words=2)], DropReason.LENGTH_GAP),
        ([answer(0, 5.0), answer(1, 4.9), answer(2, 1.0, words=2)], DropReason.LENGTH_GAP),
    ],
)
def test_a_prompt_without_a_pair_says_why(answers: list[Response], expected: DropReason) -> None:
    """Each case without a pair has a different reason, and a detail with figures."""
    dropped = select(PROMPT, answers, margin=0.5, max_length_gap=0.5)
    assert reason(dropped) == expected
    assert isinstance(dropped, Dropped)
    assert any(character.isdigit() for character in dropped.detail)


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("finished", [True, False])
def test_a_reward_that_is_not_finite_is_no_reason(reward: float, finished: bool) -> None:
    """A reward that is not finite raises, naming prompt and leaf."""
    answers = [answer(0, 1.0), answer(7, reward, finished=finished)]
    with pytest.raises(
        ValueError, match=r"prompt p1: leaf 7: the reward is -?(nan|inf), expected a finite number"
    ):
        select(PROMPT, answers, margin=0, max_length_gap=1)


def test_ties_go_to_the_lower_leaves() -> None:
    """Equal rewards give the same pair in any order of the answers."""
    answers = [answer(3, 1.0), answer(2, 5.0), answer(1, 5.0), answer(0, 1.0)]
    assert leaves(select(PROMPT, answers, margin=0, max_length_gap=1)) == (1, 0)
    assert leaves(select(PROMPT, answers[::-1], margin=0, max_length_gap=1)) == (1, 0)
    assert leaves(select(PROMPT, [answer(4, 2.0), answer(2, 2.0)], margin=0, max_length_gap=1)) == (2, 4)


ANSWERS = st.lists(
    st.builds(
        answer,
        st.integers(0, 50),
        st.sampled_from([-1.0, 0.0, 0.1, 0.5, 2.0]),
        text=st.sampled_from(["a", "b", "a ", "c", "d", ""]),
        words=st.integers(0, 12),
        finished=st.booleans(),
        canonical=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda response: response.leaf_id,
)


@given(ANSWERS, st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([0.0, 0.3, 1.0]))
def test_select_finds_the_best_allowed_pair(answers: list[Response], margin: float, gap: float) -> None:
    """No allowed pair has a larger difference (all are tried); equal texts and small margins are never selected."""
    allowed = [
        abs(one.reward - other.reward)
        for one, other in combinations([a for a in answers if a.finished and a.canonical and a.text], 2)
        if one.text.strip() != other.text.strip()
        and abs(one.words - other.words) <= gap * max(one.words, other.words)
        and abs(one.reward - other.reward) >= margin
    ]
    outcome = select(PROMPT, answers, margin=margin, max_length_gap=gap)
    assert isinstance(outcome, Pair) == bool(allowed)
    if isinstance(outcome, Pair):
        assert outcome.scores.margin == max(allowed)
        assert outcome.chosen.strip() != outcome.rejected.strip()
        assert outcome.scores.chosen_reward >= outcome.scores.rejected_reward
    assert outcome == select(PROMPT, answers[::-1], margin=margin, max_length_gap=gap)


def test_balance_leaves_out_the_pair_that_leans_most() -> None:
    """Gaps +4 +1 -1 0: without the first pair, the mean gap is at most 0.5 words; it is dropped with a reason."""
    pairs = [
        pair("a", 14, 10, margin=0.1),
        pair("b", 11, 10),
        pair("c", 9, 10),
        pair("d", 10, 10, margin=9.0),
    ]
    kept, dropped = balance(pairs, tolerance=0.5, seed=0)
    assert [one.prompt_id for one in kept] == ["b", "c", "d"]
    assert [(one.prompt_id, one.reason) for one in dropped] == [("a", DropReason.LENGTH_BALANCE)]
    assert "chosen 14 words, rejected 10" in dropped[0].detail


def test_balance_does_not_tip_the_set_over() -> None:
    """Gaps +9 +2 -4 -4: without +9 the mean would be -2; without +2 it is 1/3."""
    pairs = [pair("a", 19, 10), pair("b", 12, 10), pair("c", 6, 10), pair("d", 6, 10)]
    assert [one.prompt_id for one in balance(pairs, tolerance=0.5, seed=0)[1]] == ["b"]


def test_balance_off_keeps_all() -> None:
    """A tolerance of None keeps all pairs."""
    pairs = [pair("a", 90, 1), pair("b", 90, 1)]
    assert balance(pairs, tolerance=None, seed=0) == (pairs, [])


def test_balance_counts_the_words_of_texts() -> None:
    """Pairs without scores are balanced too: the length is that of the texts."""
    pairs = [without_scores(pair(name, words, 10)) for name, words in (("a", 14), ("b", 11), ("c", 9))]
    kept, dropped = balance(pairs, tolerance=0.5, seed=0)
    assert [one.prompt_id for one in kept] == ["b", "c"]
    assert dropped[0].detail == "chosen 14 words, rejected 10"


def test_ties_of_balance_follow_the_seed_not_the_margin() -> None:
    """Among equal gaps the seed decides: some seed drops each of them, and the order of the pairs has no effect."""
    pairs = [pair(name, 12, 10, margin=size) for name, size in zip("abcd", (0.1, 1.0, 5.0, 9.0), strict=True)]
    pairs += [pair(name, 8, 10) for name in "wxy"]
    left_out = {balance(pairs, tolerance=0.0, seed=seed)[1][0].prompt_id for seed in range(40)}
    assert left_out == set("abcd")
    assert balance(pairs[::-1], tolerance=0.0, seed=3)[1] == balance(pairs, tolerance=0.0, seed=3)[1]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=12), st.sampled_from([0.0, 0.5, 2.0])
)
def test_balance_keeps_every_prompt_accounted_for(words: list[tuple[int, int]], tolerance: float) -> None:
    """Kept and dropped together are all prompts, in order; the mean gap of the kept ones is within the tolerance."""
    pairs = [pair(f"p{index}", chosen, rejected) for index, (chosen, rejected) in enumerate(words)]
    kept, dropped = balance(pairs, tolerance=tolerance, seed=0)
    assert sorted([*(one.prompt_id for one in kept), *(one.prompt_id for one in dropped)]) == sorted(
        one.prompt_id for one in pairs
    )
    assert kept == [one for one in pairs if one in kept]
    total = sum(word_count(one.chosen) - word_count(one.rejected) for one in kept)
    assert abs(total) <= tolerance * len(kept)
