"""The paper's analyses, on tables small enough to work out by hand."""

import json
from dataclasses import replace

import pytest

from csrdata.evaluation.analyses import attention, cases, likelihood, released, relevance
from csrdata.evaluation.analyses.likelihood import Likelihoods, likelihood_rows, stored_likelihoods
from csrdata.evaluation.analyses.spread import spread
from csrdata.evaluation.scorecard import Known
from csrdata.records import (
    NO_PARENT,
    Answer,
    ImageAttention,
    Kind,
    Pair,
    Question,
    Response,
    Sentence,
    Side,
    Signal,
)
from csrdata.search.responses import score
from tests.evaluation.scenes import CIRCLE, HEART, READER, RING, STAR, TRUTH, text
from tests.scores import by_reward, pair_with, without_scores
from tests.search.trees import PROMPT, end, node

TREE: list[Sentence] = [
    node(0, NO_PARENT, " A.", 30, logprob=-1),
    node(1, NO_PARENT, " B.", 20, logprob=-2),
    node(2, 0, " C.", 10, logprob=-1),
    node(3, 0, " D.", 40, logprob=-3),
    end(4, 2),
    end(5, 3),
    end(6, 1),
]
HELD_OUT = [Signal("p1", number, "held_out", value) for number, value in enumerate((10.0, 50.0, 20.0, 30.0))]


def _answers(signals: list[Signal]) -> list[Response]:
    return score(
        TREE,
        signals,
        signal="search",
        image_weight=1.0,
        scale="unit",
        repetition_threshold=None,
        aggregate_by="mean",
    )


ANSWERS = {(answer.prompt_id, answer.leaf_id): answer for answer in _answers(HELD_OUT)}
(PAIR,) = (row for row in by_reward([PROMPT], list(ANSWERS.values())) if isinstance(row, Pair))
"""Of the answers "A. D." (mean R_I 35) and "A. C." or "B." (20 both: the lower leaf is "A. C.")."""


def test_a_spread_is_mean_and_quantiles() -> None:
    """As the docstring's example; without values there is a count of 0."""
    found = spread([4.0, 1.0, 3.0, 2.0])
    assert (found["count"], found["mean"]) == (4, 2.5)
    assert [found[name] for name in ("p10", "p25", "p50", "p75", "p90")] == pytest.approx(
        [1.3, 1.75, 2.5, 3.25, 3.7]
    )
    assert set(spread([]).values()) == {0, None}


def test_relevance_is_that_of_the_answers() -> None:
    """Search: 35 and 20 as stored. Held out: the mean of A and D, 20, and of A and C, 15, by the leaf of the answer."""
    rows = relevance.relevance_rows({"1": [PAIR, PAIR]}, {"1": ANSWERS})
    assert [(row["answer"], row["scorer"], row["count"], row["mean"]) for row in rows] == [
        ("chosen", "search", 2, 35),
        ("chosen", "held_out", 2, 20),
        ("rejected", "search", 2, 20),
        ("rejected", "held_out", 2, 15),
    ]
    assert tuple(rows[0]) == relevance.COLUMNS


def test_only_a_whole_answer_of_this_search_has_an_answer() -> None:
    """Another text, a continuation, or a pair from elsewhere is not held against the leaf of the same number."""
    assert relevance.answer_of(PAIR, "chosen", ANSWERS) == ANSWERS["p1", 5]
    for other in (
        replace(PAIR, chosen="Another text."),
        replace(PAIR, context=" A."),
        replace(PAIR, chosen_complete=False),
        without_scores(PAIR),
        pair_with(PAIR, chosen_leaf=99),
    ):
        assert relevance.answer_of(other, "chosen", ANSWERS) is None
    rows = relevance.relevance_rows({"1": [replace(PAIR, context=" A.")]}, {"1": ANSWERS})
    assert {row["scorer"] for row in rows} == {"search"}


def test_rewards_on_the_released_scale_are_one_minus_the_cost() -> None:
    """Costs: A .5, B 1, C .9 * 1 + .1 * .5, D .9 * .5 + .1 * 1; an answer's is their sum over their number plus one."""
    found = {
        answer.leaf_id: answer
        for answer in released.released_answers(TREE, [], signal="search", image_weight=0.9)
    }
    expected = {4: 1 - (0.5 + 0.95) / 3, 5: 1 - (0.5 + 0.55) / 3, 6: 1 - 1 / 2}
    assert {leaf: answer.reward for leaf, answer in found.items()} == pytest.approx(expected)
    by_leaf = {("p1", leaf): answer for leaf, answer in found.items()}
    chosen, rejected = released.released_rows({"1": [PAIR, without_scores(PAIR)]}, {"1": by_leaf})
    assert (chosen["count"], chosen["reward"]) == (1, pytest.approx(expected[5]))
    assert (rejected["count"], rejected["reward"]) == (1, pytest.approx(expected[4]))
    assert tuple(chosen) == released.COLUMNS
    empty = released.released_rows({"1": [without_scores(PAIR)]}, {"1": by_leaf})
    assert [(row["count"], row["reward"]) for row in empty] == [(0, None)] * 2


def test_likelihoods_are_apart_by_origin() -> None:
    """Per answer the sum of logs, per token its share; preferred is how often a side is the likelier one, ties half."""
    found = [
        Likelihoods("judge", -8.0, -3.0, 8, 1),
        Likelihoods("judge", -2.0, -2.0, 2, 2),
        Likelihoods("csr_search", -1.0, -6.0, 1, 3),
    ]
    rows = likelihood_rows({"1": found})
    shown = {(row["origin"], row["measure"], row["answer"]): (row["mean"], row["preferred"]) for row in rows}
    assert shown == {
        ("csr_search", "token", "chosen"): (-1, 100),
        ("csr_search", "token", "rejected"): (-2, 0),
        ("csr_search", "answer", "chosen"): (-1, 100),
        ("csr_search", "answer", "rejected"): (-6, 0),
        ("judge", "token", "chosen"): (-1, 75),
        ("judge", "token", "rejected"): (-2, 25),
        ("judge", "answer", "chosen"): (-5, 25),
        ("judge", "answer", "rejected"): (-2.5, 75),
    }
    assert tuple(rows[0]) == likelihood.COLUMNS


def test_stored_likelihoods_are_those_of_the_search() -> None:
    """A pair without stored log-probabilities is left out."""
    assert stored_likelihoods([PAIR, without_scores(PAIR)]) == [
        Likelihoods("csr_search", chosen=-5.0, rejected=-3.0, chosen_tokens=7, rejected_tokens=7)
    ]


QUESTIONS = [
    Question(f"s{number}", split, Kind.DESCRIBE, TRUTH.image, "Describe.", None, None)
    for split in ("held_out", "unknown")
    for number in range(20 * (split == "unknown"), 20 + 20 * (split == "unknown"))
] + [Question("asked", "held_out", Kind.YES_NO, TRUTH.image, "A star?", Side.YES, None)]
KNOWN = Known({TRUTH.image: TRUTH}, READER)


def _said(what: str) -> list[Answer]:
    return [Answer(row.question_id, what, 3, True, None, None, None) for row in QUESTIONS]


def test_a_case_is_one_image_under_every_policy() -> None:
    """Each drawn description has a row per policy with its absent objects; where the truth is unknown, none are claimed."""
    rows = cases.case_rows(
        QUESTIONS,
        {"base": _said(text(CIRCLE, HEART)), "1": _said(STAR)},
        {},
        {"held_out": KNOWN},
        prompts=None,
        seed=0,
        per_split=3,
    )
    assert [row["case"] for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [(row["split"], row["iteration"]) for row in rows[4:8]] == [
        ("held_out", "base"),
        ("held_out", "1"),
        ("unknown", "base"),
        ("unknown", "1"),
    ]
    (mark,) = json.loads(str(rows[0]["absent"]))
    assert str(rows[0]["text"])[mark["start"] : mark["end"]] == mark["object"] == "heart"
    assert (rows[1]["absent"], rows[6]["absent"]) == ("[]", None)
    assert tuple(rows[0]) == cases.COLUMNS


def test_cases_are_drawn_by_the_seed_alone() -> None:
    """The order of the questions changes nothing; another seed draws other images."""
    first = cases._drawn_questions(QUESTIONS, seed=0, per_split=8)
    assert first == cases._drawn_questions(QUESTIONS[:20][::-1] + QUESTIONS[20:], seed=0, per_split=8)
    assert first != cases._drawn_questions(QUESTIONS, seed=1, per_split=8)
    assert {question.kind for question in first} == {Kind.DESCRIBE}
    assert len(first) == 16


def test_a_pair_is_marked_with_its_context() -> None:
    """Both sides are shown behind what they continue, and the marks count from the beginning of the text."""
    pair = replace(PAIR, image=TRUTH.image, context=CIRCLE, chosen=f" {STAR}", rejected=f" {RING}")
    rows = cases.case_rows([], {}, {"1": [replace(pair, number=1), pair]}, {}, prompts=KNOWN, seed=0)
    assert [(row["side"], row["begins"]) for row in rows] == [
        ("chosen", len(CIRCLE)),
        ("rejected", len(CIRCLE)),
    ]
    assert rows[0]["absent"] == "[]"
    (mark,) = json.loads(str(rows[1]["absent"]))
    assert str(rows[1]["text"])[mark["start"] : mark["end"]] == "ring"
    elsewhere = replace(pair, image="images/unknown.png")
    rows = cases.case_rows([], {}, {"1": [elsewhere]}, {}, prompts=KNOWN, seed=0)
    assert [row["absent"] for row in rows] == [None, None]


def test_attention_is_averaged_by_answer_and_by_token() -> None:
    """Answers of 2 and 1 tokens: means 0.3 and 0.5, so 0.4. A token that one of three answers has is left out."""
    own = [
        ImageAttention("q1", "own", 1, 0.4),
        ImageAttention("q1", "own", 0, 0.2),
        ImageAttention("q2", "own", 0, 0.5),
        ImageAttention("q3", "own", 0, 0.2),
    ]
    rows = attention.attention_rows({"base": own[:3], "1": [replace(own[0], of="of_base"), *own[:3]]})
    assert [(row["iteration"], row["answers"], row["count"], row["mean"]) for row in rows] == [
        ("base", "own", 2, pytest.approx(0.4)),
        ("1", "own", 2, pytest.approx(0.4)),
        ("1", "of_base", 1, pytest.approx(0.4)),
    ]
    assert set(rows[0]) == set(attention.COLUMNS)
    by_token = attention.token_rows({"base": own[:3]})
    assert [(row["token"], row["count"], row["mean"]) for row in by_token] == [
        (1, 2, pytest.approx(0.35)),
        (2, 1, pytest.approx(0.4)),
    ]
    assert set(by_token[0]) == set(attention.TOKEN_COLUMNS)
    assert [row["token"] for row in attention.token_rows({"base": own})] == [1]
