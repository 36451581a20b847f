"""Pairs of two answers that the policy itself judged (self-rewarding, section 4.1), or why a prompt has none.

A verdict counts only if the policy names the same answer in both orders. No reward decides, so a pair has no margin.
"""

from collections.abc import Mapping, Sequence

from csrdata.errors import UserError
from csrdata.records import (
    SELF_REWARDING,
    Dropped,
    DropReason,
    Pair,
    Prompt,
    Response,
    Verdict,
    Winner,
)
from csrdata.search.paired import paired

JUDGE_AGAIN = "dvc repro judge_answers"


def judged(
    prompts: Sequence[Prompt], responses: Sequence[Response], verdicts: Sequence[Verdict]
) -> list[Pair | Dropped]:
    """Return a pair for each prompt on whose answers the policy agreed with itself, or the reason for none.

    Args:
        prompts: those that the policy could take.
        responses: the whole answers to them, in any order.
        verdicts: at most one for each prompt, in any order.

    Returns:
        One for each prompt, in the order of `prompts`.

    Raises:
        UserError: a verdict is about answers that are not there, or a prompt with two different answers has no verdict.
    """
    answers: dict[str, dict[int, Response]] = {}
    for response in responses:
        answers.setdefault(response.prompt_id, {})[response.leaf_id] = response
    by_prompt = {verdict.prompt_id: verdict for verdict in verdicts}
    return [
        _outcome(prompt, answers.get(prompt.prompt_id, {}), by_prompt.get(prompt.prompt_id))
        for prompt in prompts
    ]


def _outcome(prompt: Prompt, answers: Mapping[int, Response], verdict: Verdict | None) -> Pair | Dropped:
    if verdict is None:
        return _unjudged(prompt, answers)
    for leaf in (verdict.first_leaf, verdict.second_leaf):
        if leaf not in answers:
            place, expected = f"verdict of prompt {prompt.prompt_id}", "an answer of the same search"
            raise UserError(place, got=f"leaf {leaf}", expected=expected, do=JUDGE_AGAIN)
    said = f"forward {verdict.forward or 'unreadable'}, backward {verdict.backward or 'unreadable'}"
    if verdict.forward is None or verdict.backward is None:
        return Dropped(prompt.prompt_id, DropReason.JUDGE_UNREADABLE.value, said)
    if verdict.forward != verdict.backward:
        return Dropped(prompt.prompt_id, DropReason.JUDGE_TIE.value, said)
    first, second = answers[verdict.first_leaf], answers[verdict.second_leaf]
    chosen, rejected = (first, second) if verdict.forward == Winner.FIRST.value else (second, first)
    return paired(prompt, chosen, rejected, origin=SELF_REWARDING, margin=None)


def _unjudged(prompt: Prompt, answers: Mapping[int, Response]) -> Dropped:
    """Return why a prompt has no verdict: it has no two different answers that could be judged."""
    eligible = [one for one in answers.values() if one.finished and one.canonical and one.text.strip()]
    texts = {one.text.strip() for one in eligible}
    if len(texts) > 1:
        raise UserError(
            f"prompt {prompt.prompt_id}",
            got=f"no verdict on {len(texts)} different answers",
            expected="one row in the table of verdicts",
            do=JUDGE_AGAIN,
        )
    if len(eligible) > 1:
        return Dropped(prompt.prompt_id, DropReason.EQUAL_TEXTS.value, f"{len(eligible)} answers, one text")
    finished = sum(one.finished for one in answers.values())
    detail = f"{len(answers)} answers, {finished} finished, {len(eligible)} of them with words and canonical"
    return Dropped(prompt.prompt_id, DropReason.NO_RESPONSE.value, detail)
