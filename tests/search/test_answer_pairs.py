"""Pairs of whole answers on small examples, each order, and their invariants on random ones."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrdata.records import Dropped, DropReason, Pair, Prompt, Response
from csrdata.search.answer_pairs import make, select
from csrdata.search.balance import gaps, leave_out, to_leave_out
from csrdata.search.pairs import Claims

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


def one_pair(
    answers: Sequence[Response], *, margin: float = 0.0, max_length_gap: float = 1.0
) -> Pair | Dropped:
    """Return the one pair by reward, or the reason for none."""
    found = pairs_of(answers, margin=margin, max_length_gap=max_length_gap)
    return found if isinstance(found, Dropped) else found[0]


def pairs_of(answers: Sequence[Response], **changes: Any) -> list[Pair] | Dropped:
    settings: dict[str, Any] = {
        "order": "reward",
        "margin": 0.0,
        "max_length_gap": 1.0,
        "per_prompt": 1,
        "seed": 0,
    }
    return select(PROMPT, answers, **settings | changes)


def all_leaves(found: list[Pair] | Dropped) -> list[tuple[int, int]]:
    assert not isinstance(found, Dropped), found
    assert [pair.number for pair in found] == list(range(len(found)))
    return [leaves(pair) for pair in found]


def test_without_limits_it_is_the_papers_rule() -> None:
    """Without limits, chosen has the highest and rejected the lowest cumulative reward, at any length."""
    answers = [answer(0, 4.0), answer(1, 5.0, words=2), answer(2, 1.0, words=90), answer(3, 3.0)]
    assert leaves(one_pair(answers)) == (1, 2)


def test_a_pair_carries_both_answers_figures() -> None:
    """Every figure of a pair is that of its chosen or rejected answer."""
    chosen, rejected = answer(0, 4.0, words=7), answer(1, 1.5, words=9)
    made = one_pair([rejected, chosen])
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
    assert leaves(one_pair(answers, margin=0.5, max_length_gap=1)) == (0, 2)
    assert leaves(one_pair(answers, margin=0.5, max_length_gap=0.5)) == (0, 1)


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
    dropped = one_pair(answers, margin=0.5, max_length_gap=0.5)
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
        one_pair(answers)


def test_ties_go_to_the_lower_leaves() -> None:
    """Equal rewards give the same pair in any order of the answers."""
    answers = [answer(3, 1.0), answer(2, 5.0), answer(1, 5.0), answer(0, 1.0)]
    assert leaves(one_pair(answers)) == (1, 0)
    assert leaves(one_pair(answers[::-1])) == (1, 0)
    assert leaves(one_pair([answer(4, 2.0), answer(2, 2.0)])) == (2, 4)


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


@settings(deadline=None)
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
    outcome = one_pair(answers, margin=margin, max_length_gap=gap)
    assert isinstance(outcome, Pair) == bool(allowed)
    if isinstance(outcome, Pair):
        assert outcome.scores.margin == max(allowed)
        assert outcome.chosen.strip() != outcome.rejected.strip()
        assert outcome.scores.chosen_reward >= outcome.scores.rejected_reward
    assert outcome == one_pair(answers[::-1], margin=margin, max_length_gap=gap)


def old_rule(answers: Sequence[Response], *, margin: float, max_length_gap: float) -> tuple[int, int] | str:
    """Return the leaves of the pair, or the reason for none, as the rule was before there were other orders: all pairs tried."""
    whole = [one for one in answers if one.finished and one.canonical and one.text.strip() != ""]
    if len(whole) < 2:
        return "no_response"
    tried = []
    for high, low in permutations(whole, 2):
        if high.text.strip() != low.text.strip() and high.reward >= low.reward:
            near = abs(high.words - low.words) <= max_length_gap * max(high.words, low.words)
            key = (low.reward - high.reward, -high.reward, high.leaf_id, low.reward, low.leaf_id)
            tried.append((key, near, high, low))
    if not tried:
        return "equal_texts"
    if -min(key for key, *_ in tried)[0] < margin:
        return "under_margin"
    _, _, high, low = min(
        (one for one in tried if one[1]), default=(None, None, None, None), key=lambda one: one[0]
    )
    if high is None or low is None or high.reward - low.reward < margin:
        return "length_gap"
    return high.leaf_id, low.leaf_id


@settings(deadline=None)
@given(ANSWERS, st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([0.0, 0.25, 1.0]))
def test_one_pair_by_reward_is_the_old_rule(answers: list[Response], margin: float, gap: float) -> None:
    """With one pair per prompt, ordered by reward, pair and reason are those of the rule as it was."""
    found = one_pair(answers, margin=margin, max_length_gap=gap)
    expected = old_rule(answers, margin=margin, max_length_gap=gap)
    assert (found.reason if isinstance(found, Dropped) else leaves(found)) == expected
    if isinstance(found, Pair):
        assert (found.number, found.origin, found.context) == (0, "csr_search", "")
        assert found.chosen_complete
        assert found.rejected_complete


def test_more_pairs_go_inwards() -> None:
    """Rewards 6 5 4 2 1 0: best and worst, second best and second worst, and so on, until fewer differ by the margin."""
    answers = [answer(leaf, reward) for leaf, reward in enumerate([4.0, 6.0, 0.0, 5.0, 1.0, 2.0])]
    assert all_leaves(pairs_of(answers, per_prompt=9)) == [(1, 2), (3, 4), (0, 5)]
    assert all_leaves(pairs_of(answers, per_prompt=2)) == [(1, 2), (3, 4)]
    assert all_leaves(pairs_of(answers, per_prompt=9, margin=3.0)) == [(1, 2), (3, 4)]


def test_a_text_is_in_one_pair() -> None:
    """Two leaves with one text count once: the second best answer is the next other text."""
    answers = [
        answer(0, 5.0, text="a"),
        answer(1, 4.0, text=" a"),
        answer(2, 3.0),
        answer(3, 2.0),
        answer(4, 1.0, text="a "),
        answer(5, 0.0),
    ]
    assert all_leaves(pairs_of(answers, per_prompt=9)) == [(0, 5), (2, 3)]


def test_each_of_more_pairs_is_of_similar_length() -> None:
    """Rewards 5 4 1 0 with 10, 5, 10 and 5 words: within a gap of 0.2, 5 and 1 are paired, then 4 and 0."""
    answers = [answer(0, 5.0), answer(1, 4.0, words=5), answer(2, 1.0), answer(3, 0.0, words=5)]
    assert all_leaves(pairs_of(answers, per_prompt=3, max_length_gap=0.2)) == [(0, 2), (1, 3)]


TRUTH = {
    "answer 0": Claims(1, 3),
    "answer 1": Claims(0, 1),
    "answer 2": Claims(0, 2),
    "answer 3": Claims(2, 9),
    "answer 4": Claims(2, 0),
}


def test_the_truth_orders_false_claims_first() -> None:
    """Chosen has the fewest false claims, then the most true ones: 0/2; rejected the most false, then the fewest true: 2/0."""
    answers = [answer(leaf, reward=float(leaf)) for leaf in range(5)]
    found = pairs_of(answers, order="truth", per_prompt=2, margin=99.0, claims=lambda _, text: TRUTH[text])
    assert all_leaves(found) == [(2, 4), (1, 3)]
    assert not isinstance(found, Dropped)
    assert [(pair.origin, pair.scores.margin) for pair in found] == [("oracle", 2.0), ("oracle", 2.0)]
    assert (found[0].scores.chosen_reward, found[0].scores.rejected_reward) == (2.0, 4.0)


def test_true_claims_decide_between_equally_false_answers() -> None:
    """With equally many false claims, the answer with more true ones is chosen; the margin counts false claims: 0."""
    claims = {"answer 0": Claims(1, 2), "answer 1": Claims(1, 5)}
    found = pairs_of([answer(0, 9.0), answer(1, 0.0)], order="truth", claims=lambda _, text: claims[text])
    assert all_leaves(found) == [(1, 0)]
    assert not isinstance(found, Dropped)
    assert found[0].scores.margin == 0.0


def test_equally_true_answers_are_no_pair() -> None:
    """Where all claims are alike, or only those of unlike length differ, the oracle says nothing, with a reason."""
    alike = pairs_of([answer(0, 9.0), answer(1, 0.0)], order="truth", claims=lambda *_: Claims(1, 2))
    assert alike == Dropped("p1", "equal_truth", "best and worst have 1 false and 2 true claims each")
    claims = {"answer 0": Claims(0, 2), "answer 1": Claims(1, 2), "answer 2": Claims(0, 2)}
    answers = [answer(0, 9.0), answer(1, 0.0, words=1), answer(2, 5.0)]
    apart = pairs_of(answers, order="truth", max_length_gap=0.2, claims=lambda _, text: claims[text])
    assert apart == Dropped(
        "p1", "length_gap", "best and worst have 0 false and 2 true claims each within a length gap of 0.2"
    )


def test_a_random_order_does_not_depend_on_rewards() -> None:
    """The pairs follow seed and ids: other rewards give the same, any margin is met, and the margin is unknown."""
    answers = [answer(leaf, float(leaf)) for leaf in range(6)]
    others = [answer(leaf, -float(leaf)) for leaf in reversed(range(6))]
    found = pairs_of(answers, order="random", per_prompt=3, margin=99.0)
    assert all_leaves(found) == all_leaves(pairs_of(others, order="random", per_prompt=3))
    assert not isinstance(found, Dropped)
    assert {pair.origin for pair in found} == {"random"}
    assert {pair.scores.margin for pair in found} == {None}
    assert len({leaf for pair in found for leaf in leaves(pair)}) == 6


def test_a_random_order_prefers_nothing() -> None:
    """Over many seeds, each of the 6 ordered pairs of three answers comes about equally often."""
    answers = [answer(leaf, float(leaf)) for leaf in range(3)]
    found = Counter(all_leaves(pairs_of(answers, order="random", seed=seed))[0] for seed in range(1200))
    assert len(found) == 6
    assert all(140 < count < 260 for count in found.values())


def test_a_random_order_keeps_the_rule_of_length() -> None:
    """Answers of unlike length are no pair in a random order either."""
    answers = [answer(0, 5.0), answer(1, 4.0, words=2)]
    found = pairs_of(answers, order="random", max_length_gap=0.5)
    assert found == Dropped("p1", "length_gap", "no two of 2 answers within a length gap of 0.5")


PROMPTS = [Prompt(f"p{index}", "i.png", "?") for index in range(4)]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), ANSWERS), max_size=4, unique_by=lambda row: row[0]),
    st.sampled_from(["reward", "random", "truth"]),
    st.integers(1, 4),
    st.sampled_from([None, 0.0, 2.0]),
)
def test_every_prompt_has_numbered_pairs_or_one_reason(
    rows: list[tuple[int, list[Response]]], order: str, per_prompt: int, length_balance: float | None
) -> None:
    """Pairs of a prompt count up from 0, no text is in two of them; a prompt without any has exactly one reason."""
    outcomes = make(
        PROMPTS,
        {f"p{index}": answers for index, answers in rows},
        order=order,
        margin=0.1,
        max_length_gap=0.5,
        per_prompt=per_prompt,
        seed=1,
        claims=lambda _, text: Claims(len(text) % 2, len(text)),
    )
    if length_balance is not None:
        outcomes = leave_out(outcomes, to_leave_out(gaps(outcomes), tolerance=length_balance, seed=1))
    assert list(dict.fromkeys(one.prompt_id for one in outcomes)) == [prompt.prompt_id for prompt in PROMPTS]
    for prompt in PROMPTS:
        own = [one for one in outcomes if one.prompt_id == prompt.prompt_id]
        pairs = [one for one in own if isinstance(one, Pair)]
        assert pairs == own or (len(own) == 1 and not pairs)
        assert [pair.number for pair in pairs] == list(range(len(pairs)))
        texts = [text.strip() for pair in pairs for text in (pair.chosen, pair.rejected)]
        assert len(texts) == len(set(texts)) <= 2 * per_prompt
