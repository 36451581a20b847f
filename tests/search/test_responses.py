"""The answers of a small tree, against values computed by hand."""

import math
from dataclasses import replace

import pytest

from csrdata.errors import UserError
from csrdata.records import NO_PARENT, Fate, Response, Sentence, Signal, Stop
from csrdata.search.responses import responses, score


def node(
    node_id: int,
    parent: int,
    text: str,
    *,
    relevance: float | None,
    fate: Fate,
    logprob: float = -1.0,
    tokens: int = 1,
) -> Sentence:
    return Sentence(
        prompt_id="p",
        node_id=node_id,
        parent_id=parent,
        depth=1,
        group=0,
        text=text,
        token_ids=[node_id] * tokens,
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


LN2 = math.log(2)
FAMILY = [
    node(0, NO_PARENT, " A.", relevance=40.0, fate=Fate.KEPT_BEST, logprob=-2 * LN2, tokens=2),
    node(1, NO_PARENT, " B.", relevance=10.0, fate=Fate.PRUNED, logprob=-LN2, tokens=1),
    node(2, 0, " C.", relevance=20.0, fate=Fate.KEPT_WORST, logprob=-4 * LN2, tokens=2),
    node(3, 0, " D.", relevance=30.0, fate=Fate.KEPT_BEST, logprob=-LN2, tokens=2),
    node(4, 0, "", relevance=None, fate=Fate.FINISHED),
    node(5, 2, "", relevance=None, fate=Fate.FINISHED),
    node(6, 3, "", relevance=None, fate=Fate.FINISHED),
]
"""Answers A, A C and A D. R_T is 1/4, 1/2, 1/16, 1/2; per token 1/2, 1/2, 1/4, 0.7071."""
BY_SCALE = {
    # 0.75 R_I + 0.25 R_T of A, C and D
    "raw": (30 + 0.25 / 4, 15 + 0.25 / 16, 22.5 + 0.25 / 2),
    "unit": (0.30 + 0.25 / 4, 0.15 + 0.25 / 16, 0.225 + 0.25 / 2),
    "geometric": (0.30 + 0.25 / 2, 0.15 + 0.25 / 4, 0.225 + 0.25 * 0.70710678),
    # shares of the other three that are smaller: R_I 1 and 1/3 and 2/3; R_T 1/3 and 0 and 2.5/3
    "rank": (0.75 + 0.25 / 3, 0.25, 0.5 + 0.25 * 2.5 / 3),
    # R_I: mean 25, deviation 11.18034; ln R_T: mean -2 ln 2, deviation 1.2247449 ln 2
    "zscore": (
        0.75 * 15 / 11.18034,
        -0.75 * 5 / 11.18034 - 0.25 * 2 / 1.2247449,
        0.75 * 5 / 11.18034 + 0.25 / 1.2247449,
    ),
    # A beats B in R_I and comes before it at equal R_T per token; D beats C in both
    "sibling_rank": (-1 / 2, -1.0, -1 / 2),
}


@pytest.mark.parametrize("scale", BY_SCALE)
@pytest.mark.parametrize(("how", "parts"), [("sum", (1, 1)), ("mean", (1, 2)), ("mean_plus_one", (2, 3))])
def test_every_scale_and_aggregate_by_hand(scale: str, how: str, parts: tuple[int, int]) -> None:
    """The rewards of three answers on each scale: sums of derived sentence rewards, divided by 1, n or n + 1."""
    a, c, d = BY_SCALE[scale]
    found = responses(
        FAMILY, None, image_weight=0.75, scale=scale, repetition_threshold=None, aggregate_by=how
    )
    one, two = parts
    assert [row.reward for row in found] == pytest.approx([a / one, (a + c) / two, (a + d) / two], rel=1e-6)


@pytest.mark.parametrize(("how", "parts"), [("sum", (1, 1)), ("mean", (1, 2)), ("mean_plus_one", (2, 3))])
def test_mean_log_and_aggregates_by_hand(how: str, parts: tuple[int, int]) -> None:
    """The likelihoods of A, A C and A D: -1, -2 and -0.5 ln 2 per token, added up, divided by 1, n or n + 1."""
    found = responses(
        FAMILY, None, image_weight=0.0, scale="mean_log", repetition_threshold=None, aggregate_by=how
    )
    one, two = parts
    assert [row.reward for row in found] == pytest.approx([-LN2 / one, -3 * LN2 / two, -1.5 * LN2 / two])
    assert [row.likelihood for row in found] == [row.reward for row in found]


def measured(name: str, *values: float | None) -> list[Signal]:
    """Return the rows of a signal for the four sentences of `FAMILY`."""
    return [Signal("p", number, name, value) for number, value in enumerate(values)]


def scored(*signals: list[Signal], signal: str = "search", scale: str = "unit") -> list[Response]:
    return score(
        FAMILY,
        [row for rows in signals for row in rows],
        signal=signal,
        image_weight=1.0,
        scale=scale,
        repetition_threshold=None,
        aggregate_by="mean",
    )


def test_a_signal_takes_the_place_of_relevance() -> None:
    """With lambda 1, rewards are the signal's; the relevance of an answer is the signal's mean; held-out is apart."""
    found = scored(
        measured("held_out", 1.0, 2.0, 3.0, 4.0),
        measured("elsewhere", 9.0, 9.0, 9.0, 9.0),
        measured("detector", 90.0, 0.0, 50.0, 10.0),
        signal="detector",
    )
    assert [row.reward for row in found] == pytest.approx([0.9, 0.7, 0.5])
    assert [row.relevance for row in found] == pytest.approx([90.0, 70.0, 50.0])
    assert [row.relevance_held_out for row in found] == pytest.approx([1.0, 2.0, 2.5])
    assert [row.reward_held_out for row in found] == pytest.approx([0.01, 0.02, 0.025])
    assert [row.likelihood for row in found] == pytest.approx(
        [1 / 4, (1 / 4 + 1 / 16) / 2, (1 / 4 + 1 / 2) / 2]
    )


def test_a_sentence_without_a_value_counts_neither_way() -> None:
    """C has the mean of A, B and D: 40; on the zscore scale that is 0."""
    found = scored(measured("detector", 90.0, 20.0, None, 10.0), signal="detector")
    assert [row.relevance for row in found] == pytest.approx([90.0, 65.0, 50.0])
    standard = scored(measured("detector", 90.0, 20.0, None, 10.0), signal="detector", scale="zscore")
    assert standard[1].reward == pytest.approx(standard[0].reward / 2)


def test_the_search_needs_no_signal() -> None:
    """With the search's own relevance, other signals change no byte, and without held-out rows its columns are null."""
    plain = responses(
        FAMILY, None, image_weight=1.0, scale="unit", repetition_threshold=None, aggregate_by="mean"
    )
    assert scored() == scored(measured("detector", 90.0, 0.0, 50.0, 10.0)) == plain
    assert {row.reward_held_out for row in plain} == {None}


@pytest.mark.parametrize("name", ["detector", "held_out"])
def test_a_missing_row_is_refused(name: str) -> None:
    """Signals of other candidates end in one line with the stage that measures them."""
    whole = [] if name == "detector" else measured("detector", 1.0, 2.0, 3.0, 4.0)
    with pytest.raises(UserError) as caught:
        scored(whole, measured(name, 1.0, 2.0, 3.0), signal="detector")
    assert str(caught.value) == (
        f"signals of prompt p: got no row of {name} for sentence 3, expected one for each candidate with a text. "
        "Next: dvc repro measure_signals"
    )


def test_a_refused_prompt_has_no_answers() -> None:
    """The row of a prompt that the policy could not take is passed over."""
    refused = replace(
        FAMILY[0], prompt_id="q", token_ids=[], relevance=None, fate=Fate.REFUSED, stop=Stop.TOO_LONG
    )
    with_refused = score(
        [*FAMILY, refused],
        [],
        signal="search",
        image_weight=1.0,
        scale="unit",
        repetition_threshold=None,
        aggregate_by="mean",
    )
    assert with_refused == scored()
