"""Pairs of sentences with the same beginning, derived by hand for each order, and their invariants on random trees."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrdata.records import NO_PARENT, Dropped, Pair, PairScores, Prompt, Sentence, Stop
from csrdata.search.continuations import Scored
from csrdata.search.pairs import Claims, Form, form
from csrdata.search.sentence_pairs import ORDERS, make, select
from tests.search.trees import PROMPT, end, node

TREE = [
    node(0, NO_PARENT, " A red circle.", 30.0, logprob=-3.0),
    node(1, NO_PARENT, " A blue star.", 10.0, logprob=-0.5),
    node(2, NO_PARENT, " A green square.", 22.0, logprob=-1.0),
    node(3, 0, " A tree.", 26.0),
    node(4, 0, " A dog.", 5.0),
    end(5, 0),
    node(6, 1, " A cat.", 12.0),
    node(7, 1, " A fog.", 9.0),
]
"""Differences of R_I: 20 at the beginning (0 and 1), 21 after 0 (3 and 4), 3 after 1 (6 and 7)."""
REWARDS = {0: 0.1, 1: 0.9, 2: 0.5, 3: 0.2, 4: 0.4, 6: 0.7, 7: 0.0}
"""Differences of rewards: 0.8 at the beginning (1 and 0), 0.2 after 0 (4 and 3), 0.7 after 1 (6 and 7)."""


def pairs_of(
    tree: Sequence[Sentence] = TREE, *, rewards: Mapping[int, float] = REWARDS, **changes: Any
) -> list[Pair] | Dropped:
    settings: dict[str, Any] = {
        "order": "relevance",
        "min_gap": 5.0,
        "chosen_share": 1.0,
        "rejected_share": 0.5,
        "repetition_threshold": 0.6,
        "per_prompt": 9,
        "ends": "none",
        "end_gap": 0.0,
        "ends_per_prompt": None,
        "seed": 0,
        "scored": Scored(rewards, {one.node_id: one.relevance for one in tree}),
        "elsewhere": {},
    }
    return select(PROMPT, tree, **settings | changes)


def nodes(found: list[Pair] | Dropped) -> list[tuple[int | None, int | None]]:
    assert not isinstance(found, Dropped), found
    assert [pair.number for pair in found] == list(range(len(found)))
    return [(pair.scores.chosen_leaf, pair.scores.rejected_leaf) for pair in found]


def test_the_most_relevant_sentence_of_a_beginning_is_chosen() -> None:
    """At each beginning the highest and the lowest R_I; the largest differences first; less than min_gap is no pair."""
    assert nodes(pairs_of()) == [(3, 4), (0, 1)]
    assert nodes(pairs_of(per_prompt=1)) == [(3, 4)]
    assert nodes(pairs_of(min_gap=3.0)) == [(3, 4), (0, 1), (6, 7)]
    assert nodes(pairs_of(min_gap=20.5)) == [(3, 4)]


def test_a_pair_of_sentences_carries_its_context_and_scores() -> None:
    """The context is the path before; neither side is complete; scores are those of the two sentences alone."""
    found = pairs_of()
    assert not isinstance(found, Dropped)
    after, first = found
    assert (after.context, after.chosen, after.rejected) == (" A red circle.", " A tree.", " A dog.")
    assert (first.context, first.chosen, first.rejected) == ("", " A red circle.", " A blue star.")
    assert (after.image, after.prompt, after.origin) == (PROMPT.image, PROMPT.text, "csr_sentences")
    assert not after.chosen_complete
    assert not after.rejected_complete
    assert first.scores == PairScores(
        chosen_leaf=0,
        rejected_leaf=1,
        chosen_reward=0.1,
        rejected_reward=0.9,
        margin=20.0,
        chosen_relevance=30.0,
        rejected_relevance=10.0,
        chosen_logprob=-3.0,
        rejected_logprob=-0.5,
        chosen_tokens=3,
        rejected_tokens=3,
        chosen_words=3,
        rejected_words=3,
    )


def test_the_reward_orders_sentences() -> None:
    """By reward the likelier sentence may win: the order and the margin are those of the rewards."""
    found = pairs_of(order="reward", min_gap=0.3)
    assert nodes(found) == [(1, 0), (6, 7)]
    assert not isinstance(found, Dropped)
    assert [pair.scores.margin for pair in found] == [0.8, 0.7]
    assert nodes(pairs_of(order="reward", min_gap=0.0)) == [(1, 0), (6, 7), (4, 3)]


def test_evidence_decides_between_sentences() -> None:
    """R_I less its mean elsewhere: 15, 4 and 12 at the beginning, 12 and -9 after 0; the third is likelier than the first."""
    elsewhere = {0: 15.0, 1: 6.0, 2: 10.0, 3: 14.0, 4: 14.0, 6: 2.0, 7: 2.0}
    settings = {"order": "evidence", "elsewhere": elsewhere, "chosen_share": 0.67, "rejected_share": 0.33}
    found = pairs_of(**settings)
    assert nodes(found) == [(3, 4), (2, 1)]
    assert not isinstance(found, Dropped)
    assert [pair.scores.margin for pair in found] == [21.0, 8.0]
    assert {pair.origin for pair in found} == {"csr_sentences"}
    assert nodes(pairs_of(**settings | {"chosen_share": 1.0})) == [(3, 4), (0, 1)]
    assert nodes(pairs_of(**settings, min_gap=8.5)) == [(3, 4)]


def test_two_sentences_with_evidence_are_no_pair() -> None:
    """Evidence 15 and 4 at the beginning, 10 and 7 after 1: at a share of a quarter, nothing tells them apart."""
    elsewhere = {0: 15.0, 1: 6.0, 6: 2.0, 7: 2.0}
    tree = [one for one in TREE if one.node_id in elsewhere]
    settings = {"order": "evidence", "elsewhere": elsewhere}
    assert nodes(pairs_of(tree, **settings, rejected_share=0.27)) == [(0, 1)]
    found = pairs_of(tree, **settings, rejected_share=0.26)
    assert isinstance(found, Dropped)
    assert (found.reason, found.detail.split("; ")[1]) == (
        "under_margin",
        "the evidence supports none against another",
    )
    found = pairs_of(tree, **settings, rejected_share=0.27, min_gap=12.0)
    assert isinstance(found, Dropped)
    assert "largest difference 11, expected 12 or more, and above 0" in found.detail


CLAIMS = {
    " A red circle.": Claims(0, 1),
    " A blue star.": Claims(1, 0),
    " A green square.": Claims(0, 1),
    " A tree.": Claims(2, 0),
    " A dog.": Claims(0, 0),
    " A cat.": Claims(0, 1),
    " A fog.": Claims(0, 0),
}


def test_a_random_order_says_nothing_of_relevance() -> None:
    """At each beginning either sentence wins as often, whatever min_gap; the seed decides; nothing gives a margin."""
    found = [pairs_of(order="random", min_gap=1000.0, seed=seed) for seed in range(400)]
    assert nodes(found[0]) == nodes(pairs_of(order="random", min_gap=0.0, seed=0))
    pairs = [pair for own in found if not isinstance(own, Dropped) for pair in own]
    assert len(pairs) == 3 * len(found)
    assert {(pair.origin, pair.scores.margin) for pair in pairs} == {("random", None)}
    for beginning in (" A red circle.", " A blue star."):
        after = [pair.scores for pair in pairs if pair.context == beginning]
        more = sum(one.chosen_relevance > one.rejected_relevance for one in after)
        assert len(after) == len(found)
        assert 160 <= more <= 240  # 200 expected, four standard deviations on either side


def test_the_truth_orders_sentences() -> None:
    """Fewest false claims, then most true ones; 2 false more come before 1 false more, and that before 1 true less."""
    found = pairs_of(order="truth", min_gap=50.0, claims=lambda _, text: CLAIMS[text])
    assert nodes(found) == [(4, 3), (0, 1), (6, 7)]
    assert not isinstance(found, Dropped)
    assert [pair.scores.margin for pair in found] == [2.0, 1.0, 0.0]
    assert {pair.origin for pair in found} == {"oracle"}


def test_the_seed_decides_between_equal_differences() -> None:
    """With one pair per prompt and equal differences, each beginning comes first with some seed."""
    tree = [replace(one, relevance=20.0 if one.node_id in {0, 3, 6} else 10.0) for one in TREE if one.text]
    found = {nodes(pairs_of(tree, per_prompt=1, seed=seed))[0] for seed in range(40)}
    assert found == {(0, 1), (3, 4), (6, 7)}


def test_equal_sentences_go_to_the_lower_nodes() -> None:
    """Of sentences with equal R_I, the lower node is the side of the pair."""
    tree = [node(number, NO_PARENT, f" {number}.", 10.0 * (number % 2)) for number in range(4)]
    assert nodes(pairs_of(tree)) == [(1, 0)]


@pytest.mark.parametrize(
    "worst",
    [
        {"repetition": 0.6},
        {"canonical": False},
        {"stop": Stop.SENTENCE_LIMIT},
        {"stop": Stop.RESPONSE_LIMIT},
        {"text": " \n"},
    ],
)
def test_what_cannot_be_compared_is_no_side(worst: dict[str, Any]) -> None:
    """A repetition, other tokens, a sentence cut short or one without words: the next lowest sentence is rejected."""
    tree = [replace(TREE[1], **worst) if one.node_id == 1 else one for one in TREE[:3]]
    assert nodes(pairs_of(tree)) == [(0, 2)]


@pytest.mark.parametrize("first", [{"canonical": False}, {"stop": Stop.SENTENCE_LIMIT}])
def test_the_beginning_is_whole_and_canonical_too(first: dict[str, Any]) -> None:
    """After a beginning that is tokenised otherwise, or that ends inside a sentence, nothing is a pair."""
    tree = [replace(one, **first) if one.node_id == 0 else one for one in TREE]
    assert nodes(pairs_of(tree)) == [(2, 1)]


def test_no_threshold_is_no_repetition() -> None:
    """With a threshold of null, a repetition may be a side."""
    tree = [replace(one, repetition=1.0) if one.text else one for one in TREE]
    assert nodes(pairs_of(tree, repetition_threshold=None)) == [(3, 4), (0, 1)]


def test_a_sentence_that_ended_inside_is_complete() -> None:
    """Its end is part of what was generated: the side is complete, and the token that ended it is kept."""
    tree = [TREE[0], node(1, NO_PARENT, " a blue star", 10.0, stop=Stop.END)]
    found = pairs_of(tree)
    assert nodes(found) == [(0, 1)]
    assert not isinstance(found, Dropped)
    assert (found[0].chosen_complete, found[0].rejected_complete) == (False, True)
    assert (found[0].scores.chosen_end, found[0].scores.rejected_end) == (None, 7)
    assert form(found[0]) is Form.SENTENCES


def test_one_text_with_and_without_an_end_is_no_pair() -> None:
    """The relevance says nothing of the end: a text is never paired with itself."""
    tree = [node(0, NO_PARENT, " a star", 30.0), node(1, NO_PARENT, " a star", 10.0, stop=Stop.END)]
    assert isinstance(pairs_of(tree), Dropped)


def test_a_sentence_without_a_value_is_no_side() -> None:
    """Where the signal says nothing of a sentence, it cannot be compared."""
    relevances = {0: None, 1: 10.0, 2: 22.0}
    assert nodes(pairs_of(TREE[:3], scored=Scored(REWARDS, relevances))) == [(2, 1)]


@pytest.mark.parametrize(
    ("tree", "changes", "reason", "detail"),
    [
        ([], {}, "no_siblings", "0 candidates, 0 of them may be compared, no two after the same beginning"),
        (TREE[:1], {}, "no_siblings", "1 candidates, 1 of them may be compared, no two"),
        (
            [TREE[0], TREE[3], TREE[5]],
            {},
            "no_siblings",
            "3 candidates, 2 of them may be compared, no two after the same beginning",
        ),
        (
            TREE,
            {"min_gap": 22.0},
            "under_margin",
            "at 3 beginnings; largest difference 21, expected 22 or more",
        ),
        (
            [replace(one, relevance=1.0) for one in TREE[:3]],
            {"min_gap": 0.0},
            "under_margin",
            "largest difference 0, expected 0 or more, and above 0",
        ),
        (
            TREE,
            {"order": "truth", "claims": lambda *_: Claims(1, 1)},
            "equal_truth",
            "8 candidates, 7 of them may be compared, at 3 beginnings; none differ in their claims",
        ),
    ],
)
def test_a_prompt_without_a_pair_says_why(
    tree: list[Sentence], changes: dict[str, Any], reason: str, detail: str
) -> None:
    """Each case without a pair has its reason, with figures."""
    found = pairs_of(tree, **changes)
    assert isinstance(found, Dropped)
    assert found.reason == reason
    assert detail in found.detail


@st.composite
def trees(draw: Any) -> list[Sentence]:
    """Draw a tree of up to 12 candidates, some of them ends, repetitions, cut short or not canonical."""
    tree: list[Sentence] = []
    for number in range(draw(st.integers(0, 12))):
        parents = [NO_PARENT, *(one.node_id for one in tree if one.stop is not Stop.END)]
        parent = draw(st.sampled_from(parents))
        if draw(st.integers(0, 3)) == 0:
            tree.append(end(number, parent))
        else:
            tree.append(
                node(
                    number,
                    parent,
                    f" text {draw(st.integers(0, 4))}.",
                    float(draw(st.integers(0, 6)) * 5),
                    logprob=-float(draw(st.integers(1, 3))),
                    stop=draw(st.sampled_from([Stop.SENTENCE_END, Stop.SENTENCE_END, Stop.SENTENCE_LIMIT])),
                    canonical=draw(st.integers(0, 4)) > 0,
                    repetition=draw(st.sampled_from([0.0, 0.0, 0.9])),
                )
            )
    return tree


PROMPTS = [Prompt(f"p{index}", "i.png", "?") for index in range(3)]


@settings(deadline=None)
@given(
    st.lists(trees(), min_size=0, max_size=3),
    st.sampled_from(ORDERS),
    st.integers(1, 3),
    st.sampled_from(["none", "evidence"]),
    st.sampled_from([None, 1, 2]),
)
def test_every_prompt_has_numbered_pairs_or_one_reason(
    grown: list[list[Sentence]], order: str, per_prompt: int, ends: str, ends_per_prompt: int | None
) -> None:
    """Pairs count up from 0, at most one of each form at a beginning; a prompt without any has exactly one reason."""
    by_prompt = {
        prompt.prompt_id: [replace(one, prompt_id=prompt.prompt_id) for one in tree]
        for prompt, tree in zip(PROMPTS, grown, strict=False)
    }
    outcomes = make(
        PROMPTS,
        by_prompt,
        order=order,
        min_gap=5.0,
        chosen_share=1.0,
        rejected_share=0.5,
        repetition_threshold=0.6,
        per_prompt=per_prompt,
        ends=ends,
        end_gap=5.0,
        ends_per_prompt=ends_per_prompt,
        seed=3,
        score=lambda tree: Scored(
            {one.node_id: -one.logprob * 10 for one in tree}, {one.node_id: one.relevance for one in tree}
        ),
        elsewhere={name: {one.node_id: 12.0 for one in tree} for name, tree in by_prompt.items()},
        claims=lambda _, text: Claims(int(text[6]) % 2, int(text[6])),
    )
    assert list(dict.fromkeys(one.prompt_id for one in outcomes)) == [prompt.prompt_id for prompt in PROMPTS]
    for prompt in PROMPTS:
        own = [one for one in outcomes if one.prompt_id == prompt.prompt_id]
        pairs = [one for one in own if isinstance(one, Pair)]
        assert pairs == own or (len(own) == 1 and not pairs)
        assert [pair.number for pair in pairs] == list(range(len(pairs)))
        tree = {one.node_id: one for one in by_prompt.get(prompt.prompt_id, [])}
        places = []
        for pair in pairs:
            chosen, rejected = tree[pair.scores.chosen_leaf or 0], tree[pair.scores.rejected_leaf or 0]
            assert chosen.parent_id == rejected.parent_id
            assert chosen.canonical
            assert rejected.canonical
            assert chosen.parent_id == NO_PARENT or tree[chosen.parent_id].canonical
            assert (pair.chosen, pair.rejected) == (chosen.text, rejected.text)
            places.append((chosen.parent_id, form(pair) is Form.SENTENCES))
        assert len(places) == len(set(places))
        assert sum(sentences for _, sentences in places) <= per_prompt
        most = ends_per_prompt or per_prompt
        assert sum(not sentences for _, sentences in places) <= most * (ends == "evidence")
