"""Where an answer should end: each case of the rule on one beginning, by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from csrdata.records import NO_PARENT, Dropped, Pair, Sentence, Stop
from csrdata.search.continuations import Scored
from csrdata.search.pairs import Form, form
from csrdata.search.sentence_pairs import select
from tests.search.trees import PROMPT, end, node

FIRST = node(0, NO_PARENT, " A red circle.", 30.0)
ELSEWHERE = dict.fromkeys(range(20), 20.0)
"""Images of other prompts: 20 for every sentence, so that the evidence of a sentence is its R_I minus 20."""


def end_pairs(
    candidates: Sequence[Sentence], *, elsewhere: Mapping[int, float | None] = ELSEWHERE, **changes: Any
) -> list[Pair]:
    """Return the pairs with the end, after the first sentence and these candidates."""
    tree = [FIRST, *candidates]
    settings: dict[str, Any] = {
        "ends": "evidence",
        "end_gap": 5.0,
        "per_prompt": 9,
        "ends_per_prompt": None,
        "repetition_threshold": 0.6,
    }
    found = select(
        PROMPT,
        tree,
        order="relevance",
        min_gap=99.0,
        chosen_share=1.0,
        rejected_share=0.5,
        seed=0,
        scored=Scored({}, {one.node_id: one.relevance for one in tree}),
        elsewhere=elsewhere,
        **settings | changes,
    )
    return [] if isinstance(found, Dropped) else found


def sides(found: Sequence[Pair]) -> list[tuple[int | None, int | None]]:
    return [(pair.scores.chosen_leaf, pair.scores.rejected_leaf) for pair in found]


def test_evidence_for_a_sentence_goes_on() -> None:
    """Evidence 10, 6 and -9: the sentence with the most evidence is chosen, the end is rejected; the margin is 10."""
    found = end_pairs(
        [node(1, 0, " A.", 26.0), node(2, 0, " B.", 30.0), node(3, 0, " C.", 11.0), end(4, 0, logprob=-0.25)]
    )
    assert sides(found) == [(2, 4)]
    (pair,) = found
    assert (pair.context, pair.chosen, pair.rejected) == (" A red circle.", " B.", "")
    assert (pair.chosen_complete, pair.rejected_complete, pair.origin) == (False, True, "csr_ends")
    assert form(pair) is Form.GO_ON
    scores = pair.scores
    assert (scores.margin, scores.chosen_relevance, scores.rejected_relevance) == (10.0, 30.0, None)
    assert (scores.rejected_logprob, scores.rejected_tokens, scores.rejected_words) == (-0.25, 1, 0)
    assert (scores.chosen_end, scores.rejected_end) == (None, 2)


def test_only_stops() -> None:
    """With `ends: stop` evidence for a sentence makes no pair; evidence against all of them does."""
    assert end_pairs([node(1, 0, " A.", 30.0), end(2, 0)], ends="stop") == []
    assert sides(end_pairs([node(1, 0, " A.", 10.0), end(2, 0)], ends="stop")) == [(2, 1)]
    assert end_pairs([node(1, 0, " A.", 10.0), end(2, 0)], ends="none") == []


def test_evidence_against_all_sentences_stops() -> None:
    """Evidence -6 and -10: the end is chosen, the most probable sentence rejected; the margin is the evidence against it."""
    found = end_pairs(
        [node(1, 0, " A.", 10.0, logprob=-4.0), node(2, 0, " B.", 14.0, logprob=-2.0), end(3, 0)]
    )
    assert sides(found) == [(3, 2)]
    (pair,) = found
    assert (pair.chosen, pair.rejected, pair.scores.margin) == ("", " B.", 6.0)
    assert (pair.chosen_complete, pair.rejected_complete) == (True, False)
    assert form(pair) is Form.STOP


def test_a_repetition_has_no_evidence() -> None:
    """R_I 60 of a repetition is no reason to go on: beside it and a sentence with evidence -6, the answer should end.

    The repetition is the most probable; as its R_I counts as 0, the margin is 20.
    """
    repeated = node(1, 0, " A red circle.", 60.0, logprob=-0.5, repetition=0.6)
    found = end_pairs([repeated, node(2, 0, " B.", 14.0), end(3, 0)])
    assert sides(found) == [(3, 1)]
    assert found[0].scores.margin == 20.0
    assert sides(end_pairs([repeated, end(3, 0)])) == [(3, 1)]
    assert sides(end_pairs([repeated, end(3, 0)], repetition_threshold=None)) == [(1, 3)]


@pytest.mark.parametrize(
    "candidates",
    [
        [node(1, 0, " A.", 24.9), end(2, 0)],
        [node(1, 0, " A.", 15.1), end(2, 0)],
        [node(1, 0, " A.", 24.0), node(2, 0, " B.", 2.0), end(3, 0)],
        [node(1, 0, " A.", 60.0), node(2, 0, " B.", 2.0)],
        [end(1, 0)],
        [node(1, 0, " A.", 60.0), end(2, 0, canonical=False)],
        [node(1, 0, " A.", 60.0, canonical=False), end(2, 0)],
        [node(1, 0, " A.", 2.0, canonical=False), end(2, 0)],
        [node(1, 0, " A.", 60.0, stop=Stop.SENTENCE_LIMIT), node(2, 0, " B.", 2.0), end(3, 0)],
    ],
    ids=[
        "little evidence",
        "little evidence against",
        "evidence on both sides",
        "the end was no candidate",
        "the end alone",
        "the end has other tokens",
        "the sentence has other tokens",
        "all sentences have other tokens",
        "evidence for a sentence that was cut short",
    ],
)
def test_otherwise_there_is_no_pair(candidates: list[Sentence]) -> None:
    """Where the evidence does not decide, or a side could not be trained on, nothing is said of the end."""
    assert end_pairs(candidates) == []


def test_an_empty_answer_never_ends() -> None:
    """At the empty beginning, end-of-sequence is no way to answer."""
    tree = [node(1, NO_PARENT, " A.", 2.0), end(2, NO_PARENT)]
    assert end_pairs(tree) == []


def test_no_evidence_at_all_decides_nothing() -> None:
    """With end_gap 0, evidence of exactly 0 speaks neither for a sentence nor against it; 0.5 and -0.5 do."""
    assert end_pairs([node(1, 0, " A.", 20.0), end(2, 0)], end_gap=0.0) == []
    assert sides(end_pairs([node(1, 0, " A.", 20.5), end(2, 0)], end_gap=0.0)) == [(1, 2)]
    assert sides(end_pairs([node(1, 0, " A.", 19.5), end(2, 0)], end_gap=0.0)) == [(2, 1)]


def test_unknown_evidence_decides_nothing() -> None:
    """A sentence whose signal is null is not chosen, and the answer does not end because of the others."""
    unknown = {1: None, 2: 20.0}
    candidates = [node(1, 0, " A.", 60.0), node(2, 0, " B.", 2.0), end(3, 0)]
    assert end_pairs(candidates, elsewhere=unknown) == []


def test_pairs_with_the_end_have_a_limit_of_their_own() -> None:
    """Two beginnings with evidence 10 and 30, one pair: the larger one, and the one pair of sentences. With two: both."""
    tree = [
        FIRST,
        node(1, 0, " A.", 30.0),
        end(2, 0),
        node(3, NO_PARENT, " B.", 1.0),
        node(4, 3, " C.", 50.0),
        end(5, 3),
    ]
    for per_prompt, ends_per_prompt, expected in (
        (1, None, [(0, 3), (4, 5)]),
        (9, 1, [(0, 3), (4, 5)]),
        (1, 2, [(0, 3), (4, 5), (1, 2)]),
        (9, None, [(0, 3), (4, 5), (1, 2)]),
    ):
        found = select(
            PROMPT,
            tree,
            order="relevance",
            min_gap=5.0,
            chosen_share=1.0,
            rejected_share=0.5,
            repetition_threshold=0.6,
            per_prompt=per_prompt,
            ends="evidence",
            end_gap=5.0,
            ends_per_prompt=ends_per_prompt,
            seed=0,
            scored=Scored({}, {one.node_id: one.relevance for one in tree}),
            elsewhere=ELSEWHERE,
        )
        assert not isinstance(found, Dropped)
        assert sides(found) == expected
        assert [pair.number for pair in found] == list(range(len(expected)))
