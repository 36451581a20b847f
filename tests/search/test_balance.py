"""The balance in length on small sets of pairs, and its invariants on random ones."""

import time
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from csrdata.records import Dropped, DropReason, Pair, PairScores
from csrdata.search.balance import Key, gaps, leave_out, to_leave_out
from csrdata.search.pairs import hashed
from csrdata.search.words import word_count
from tests.scores import without_scores


def pair(
    prompt_id: str, chosen_words: int, rejected_words: int, *, margin: float = 1.0, number: int = 0
) -> Pair:
    return Pair(
        prompt_id,
        "i.png",
        "?",
        " red" * chosen_words,
        " blue" * rejected_words,
        "csr_search",
        number=number,
        scores=PairScores(margin=margin),
    )


def balance(pairs: list[Pair], *, tolerance: float, seed: int) -> tuple[list[Pair], list[Dropped]]:
    outcomes = leave_out(pairs, to_leave_out(gaps(pairs), tolerance=tolerance, seed=seed))
    return [one for one in outcomes if isinstance(one, Pair)], [
        one for one in outcomes if isinstance(one, Dropped)
    ]


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
    assert dropped[0].detail == "chosen 14 words, rejected 10; margin 0.1"


def test_balance_does_not_tip_the_set_over() -> None:
    """Gaps +9 +2 -4 -4: without +9 the mean would be -2; without +2 it is 1/3."""
    pairs = [pair("a", 19, 10), pair("b", 12, 10), pair("c", 6, 10), pair("d", 6, 10)]
    assert [one.prompt_id for one in balance(pairs, tolerance=0.5, seed=0)[1]] == ["b"]


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


def test_a_prompt_that_keeps_a_pair_is_not_dropped() -> None:
    """Gaps of a: +4 +2, of b: -2. Without +4 the mean is 0: the pair with the number 1 becomes the first one of its prompt."""
    pairs = [pair("a", 14, 10), pair("a", 12, 10, number=1), pair("b", 8, 10)]
    kept, dropped = balance(pairs, tolerance=0.5, seed=0)
    assert kept == [replace(pairs[1], number=0), pairs[2]]
    assert dropped == []


def test_a_prompt_that_loses_all_pairs_has_one_reason() -> None:
    """Gaps +4 and +3 of one prompt and 0 of another, tolerance 0: both are left out, in one row with both figures."""
    pairs = [pair("a", 14, 10), pair("a", 13, 10, number=1), pair("b", 10, 10)]
    kept, dropped = balance(pairs, tolerance=0.0, seed=0)
    assert kept == [pairs[2]]
    assert [one.detail for one in dropped] == [
        "chosen 14 words, rejected 10; margin 1; chosen 13 words, rejected 10; margin 1"
    ]


def _one_by_one(gaps: Mapping[Key, int], *, tolerance: float, seed: int) -> set[Key]:
    """Leave pairs out as the rule says it: each time, all that are left are looked at. Slow with many pairs."""
    left = sorted(gaps, key=lambda key: (gaps[key], hashed(seed, key[0]), key[1]))
    while abs(total := sum(gaps[key] for key in left)) > tolerance * len(left):
        sign = 1 if total > 0 else -1
        largest_first = left[::-sign]
        fits = [
            key
            for key in largest_first
            if sign * gaps[key] > 0 and sign * total - sign * gaps[key] >= -tolerance * (len(left) - 1)
        ]
        left.remove((fits or largest_first)[0])
    return set(gaps) - set(left)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.one_of(st.integers(-3, 3), st.integers(-40, 40)), max_size=40),
    st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    st.integers(0, 3),
)
def test_the_same_pairs_leave_as_one_by_one(sizes: list[int], tolerance: float, seed: int) -> None:
    """For random gaps, those that lean to both sides and overshoot too, the pairs are those of the rule word by word."""
    given_gaps = {(f"p{number // 2}", number % 2): size for number, size in enumerate(sizes)}
    found = to_leave_out(given_gaps, tolerance=tolerance, seed=seed)
    assert found == _one_by_one(given_gaps, tolerance=tolerance, seed=seed)


def test_many_pairs_take_time_in_proportion() -> None:
    """Eight times as many pairs, two fifths of which leave, take at most 24 times as long; a quadratic rule takes 64."""

    def seconds(count: int) -> float:
        many = {(f"p{number}", 0): 7 - number % 11 for number in range(count)}
        begin = time.process_time()
        left_out = to_leave_out(many, tolerance=0.0, seed=0)
        taken = time.process_time() - begin
        assert sum(many.values()) == sum(many[key] for key in left_out)
        assert len(left_out) > count / 4
        return taken

    assert seconds(160_000) < 24 * seconds(20_000)


LENGTHS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 20), st.integers(1, 20)), max_size=12)


@settings(deadline=None)
@given(LENGTHS, st.sampled_from([0.0, 0.5, 2.0]))
def test_balance_keeps_every_prompt_accounted_for(rows: list[tuple[int, int, int]], tolerance: float) -> None:
    """A prompt keeps pairs or is dropped once; numbers count from 0; the mean gap of the kept ones is within the tolerance."""
    pairs: list[Pair] = []
    for prompt, chosen, rejected in sorted(rows):
        number = sum(one.prompt_id == f"p{prompt}" for one in pairs)
        pairs.append(pair(f"p{prompt}", chosen, rejected, number=number))
    kept, dropped = balance(pairs, tolerance=tolerance, seed=0)
    ids = {one.prompt_id for one in kept}
    assert ids | {one.prompt_id for one in dropped} == {one.prompt_id for one in pairs}
    assert ids & {one.prompt_id for one in dropped} == set()
    assert len(dropped) == len({one.prompt_id for one in dropped})
    for prompt_id in ids:
        own = [one.number for one in kept if one.prompt_id == prompt_id]
        assert own == list(range(len(own)))
    texts = [(one.prompt_id, one.chosen, one.rejected) for one in pairs]
    assert [(one.prompt_id, one.chosen, one.rejected) in texts for one in kept] == [True] * len(kept)
    total = sum(word_count(one.chosen) - word_count(one.rejected) for one in kept)
    assert abs(total) <= tolerance * len(kept)
