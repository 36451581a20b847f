"""The answers of a small tree, against values computed by hand."""

from dataclasses import replace

import pytest

from csrdata.records import NO_PARENT, Fate, Sentence, Stop
from csrdata.search.responses import responses


def node(
    node_id: int, parent: int, text: str, *, relevance: float | None, fate: Fate, logprob: float = -1.0
) -> Sentence:
    return Sentence(
        prompt_id="p",
        node_id=node_id,
        parent_id=parent,
        depth=1,
        group=0,
        text=text,
        token_ids=[node_id],
        logprob=logprob,
        relevance=relevance,
        relevance_truncated=False,
        repetition=None if relevance is None else 0.0,
        guidance_reward=relevance,
        stop=Stop.SENTENCE_END,
        fate=fate,
        canonical=True,
    )


TREE = [
    node(0, NO_PARENT, " A b.", relevance=40.0, fate=Fate.KEPT_BEST),
    node(1, NO_PARENT, " C.", relevance=10.0, fate=Fate.PRUNED),
    node(2, 0, " D.", relevance=20.0, fate=Fate.KEPT_BEST),
    node(3, 0, "", relevance=None, fate=Fate.FINISHED, logprob=-0.5),
    node(4, 2, "", relevance=None, fate=Fate.FINISHED, logprob=-0.25),
]
HELD_OUT = {0: 60.0, 1: 0.0, 2: 30.0}


@pytest.mark.parametrize(("how", "expected"), [("sum", [40.0, 60.0]), ("mean", [40.0, 30.0])])
def test_the_end_adds_no_sentence(how: str, expected: list[float]) -> None:
    """Rewards aggregate over sentences with a text; the end adds to the log-probability but not to sum or mean."""
    found = responses(
        TREE, HELD_OUT, image_weight=1.0, scale="raw", repetition_threshold=None, aggregate_by=how
    )
    assert [row.reward for row in found] == expected
    assert [row.logprob for row in found] == [-1.5, -2.25]


def test_texts_join_and_held_out_is_apart() -> None:
    """An answer's text is that of its sentences joined; the relevances of both scorers are separate means."""
    short, long = responses(
        TREE, HELD_OUT, image_weight=1.0, scale="raw", repetition_threshold=None, aggregate_by="mean"
    )
    assert (long.text, long.words, long.sentences, long.tokens) == (" A b. D.", 3, 2, 3)
    assert (long.relevance, long.relevance_held_out) == (30.0, 45.0)
    assert (short.leaf_id, long.leaf_id) == (3, 4)


def test_what_was_said_before_earns_nothing() -> None:
    """A repeated sentence has R_I = 0 in the rewards of both scorers; the mean raw relevance is unchanged."""
    repeated = [replace(row, repetition=0.8) if row.node_id == 2 else row for row in TREE]
    _, strict = responses(
        repeated, HELD_OUT, image_weight=1.0, scale="raw", repetition_threshold=0.8, aggregate_by="sum"
    )
    _, lenient = responses(
        repeated, HELD_OUT, image_weight=1.0, scale="raw", repetition_threshold=0.9, aggregate_by="sum"
    )
    assert (strict.reward, strict.reward_held_out, strict.relevance) == (40.0, 60.0, 30.0)
    assert (lenient.reward, lenient.reward_held_out) == (60.0, 90.0)


@pytest.mark.parametrize(("node_id", "parent"), [(2, 2), (0, 4), (2, 9)])
def test_a_tree_with_a_loop_is_refused(node_id: int, parent: int) -> None:
    """A parent that is not an earlier sentence raises, instead of an endless loop."""
    looped = [replace(row, parent_id=parent) if row.node_id == node_id else row for row in TREE]
    with pytest.raises(
        ValueError, match=rf"prompt p: sentence {node_id}: the parent is {parent}, expected an earlier"
    ):
        responses(
            looped, HELD_OUT, image_weight=1.0, scale="raw", repetition_threshold=None, aggregate_by="sum"
        )


def test_a_chinese_answer_has_words() -> None:
    """Each character of a Chinese answer counts as a word, so that the limits on length apply."""
    chinese = [replace(row, text="红色的圆形。") if row.node_id == 0 else row for row in TREE]
    short, _ = responses(
        chinese, HELD_OUT, image_weight=1.0, scale="raw", repetition_threshold=None, aggregate_by="sum"
    )
    assert short.words == 5
