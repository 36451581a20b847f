"""Pairs from the policy's own verdicts: one agreement, one pair; every other prompt has its reason."""

import dataclasses
from collections.abc import Sequence

import pytest

from csrdata.errors import UserError
from csrdata.records import SELF_REWARDING, Dropped, DropReason, Pair, Prompt, Response, Verdict
from csrdata.search.judged_pairs import judged
from csrdata.storage.tables import to_table
from csrdata.storage.values import check_values

PROMPT = Prompt("p", "images/0.png", "Describe.")


def answer(leaf: int, text: str, **changes: object) -> Response:
    made = Response(
        "p", leaf, text, 2, 1, 4, -3.0 - leaf, float(leaf), 0.0, 20.0 + leaf, None, None, True, True, 7
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


ANSWERS = [answer(3, " A star."), answer(5, " A fog.")]


def outcome(
    forward: str | None, backward: str | None, answers: Sequence[Response] = ANSWERS
) -> Pair | Dropped:
    verdict = Verdict("p", 5, 3, forward, backward, None, None)
    (found,) = judged([PROMPT], answers, [verdict])
    return found


def test_agreement_makes_a_pair() -> None:
    """The answer that is named twice is chosen, whatever the rewards say; scores are those of the answers."""
    pair = outcome("first", "first")
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected, pair.origin) == (" A fog.", " A star.", SELF_REWARDING)
    scores = pair.scores
    assert (scores.chosen_leaf, scores.rejected_leaf, scores.margin) == (5, 3, None)
    assert (scores.chosen_logprob, scores.rejected_logprob, scores.chosen_end) == (-8.0, -6.0, 7)
    other = outcome("second", "second")
    assert isinstance(other, Pair)
    assert (other.chosen, other.scores.chosen_reward, other.scores.rejected_reward) == (" A star.", 3.0, 5.0)
    check_values(to_table([pair], Pair), Pair, place="pairs", made_by="again")


@pytest.mark.parametrize(
    ("forward", "backward", "reason", "detail"),
    [
        ("first", "second", DropReason.JUDGE_TIE, "forward first, backward second"),
        ("second", "first", DropReason.JUDGE_TIE, "forward second, backward first"),
        (None, "first", DropReason.JUDGE_UNREADABLE, "forward unreadable, backward first"),
        ("second", None, DropReason.JUDGE_UNREADABLE, "forward second, backward unreadable"),
        (None, None, DropReason.JUDGE_UNREADABLE, "forward unreadable, backward unreadable"),
    ],
)
def test_any_other_verdict_is_a_reason(
    forward: str | None, backward: str | None, reason: DropReason, detail: str
) -> None:
    """Two orders that disagree are a tie; an order without a readable verdict is unreadable."""
    assert outcome(forward, backward) == Dropped("p", reason.value, detail)


@pytest.mark.parametrize(
    ("answers", "reason", "detail"),
    [
        ([], "no_response", "0 answers, 0 finished, 0 of them with words and canonical"),
        (
            [answer(1, " A."), answer(2, " B.", finished=False), answer(3, " C.", canonical=False)],
            "no_response",
            "3 answers, 2 finished, 1 of them with words and canonical",
        ),
        ([answer(1, " A."), answer(2, "A. ")], "equal_texts", "2 answers, one text"),
    ],
)
def test_a_prompt_without_two_answers_has_no_verdict(
    answers: list[Response], reason: str, detail: str
) -> None:
    """The reasons are those of pairs by reward."""
    assert judged([PROMPT], answers, []) == [Dropped("p", reason, detail)]


def test_every_prompt_has_one_outcome_in_order() -> None:
    """Kept + dropped = prompts."""
    prompts = [Prompt(f"p{index}", "i.png", "Describe.") for index in range(3)]
    rows = [dataclasses.replace(one, prompt_id="p2") for one in ANSWERS]
    found = judged(prompts, rows, [Verdict("p2", 3, 5, "first", "first", 1.0, 1.0)])
    assert [one.prompt_id for one in found] == ["p0", "p1", "p2"]
    assert isinstance(found[2], Pair)


def test_verdicts_of_another_search_are_one_line() -> None:
    """An answer that is not there, or two answers without a verdict, name the prompt and the command."""
    with pytest.raises(
        UserError, match=r"verdict of prompt p: got leaf 5, expected an answer of the same search"
    ):
        outcome("first", "first", ANSWERS[:1])
    with pytest.raises(
        UserError, match=r"prompt p: got no verdict on 2 different answers.*dvc repro judge_answers"
    ):
        judged([PROMPT], ANSWERS, [])
