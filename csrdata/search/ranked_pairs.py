"""Pairs from an ordered list of whole answers, or the reason why a prompt has none.

Two answers of a prompt say that the best is better than the worst. A list says it of what lies between too: every two of
its answers are a pair, as in InstructGPT's rankings (arXiv 2203.02155, section 3.5). An answer in the middle is chosen in
some pairs and rejected in others.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from csrdata.records import CSR_SEARCH, Dropped, DropReason, Pair, Prompt, Response
from csrdata.search.paired import paired
from csrdata.search.pairs import Entry, Outcome, apart, furthest_apart, numbered


def make(
    prompts: Sequence[Prompt],
    responses: Mapping[str, Sequence[Response]],
    *,
    answers: int,
    margin: float,
    max_length_gap: float,
) -> list[Outcome]:
    """Return the pairs of each prompt, or why it has none, in the order of `prompts`.

    Args:
        prompts: those that the policy could take.
        responses: the whole answers to them, by `prompt_id`.
        answers, margin, max_length_gap: see `select`.

    Raises:
        ValueError: a reward is not finite.
    """
    outcomes: list[Outcome] = []
    for prompt in prompts:
        found = select(
            prompt,
            responses.get(prompt.prompt_id, ()),
            answers=answers,
            margin=margin,
            max_length_gap=max_length_gap,
        )
        outcomes += [found] if isinstance(found, Dropped) else found
    return outcomes


def select(
    prompt: Prompt, responses: Sequence[Response], *, answers: int, margin: float, max_length_gap: float
) -> list[Pair] | Dropped:
    """Return the pairs of one prompt's list of answers, those with the largest difference first, or the reason for none.

    Only finished, non-empty, canonical answers count, each text once, with its highest reward. The list has the best and the
    worst of them, and between these the ones whose ranks are evenly spaced.

    Args:
        prompt: the prompt that all `responses` answer.
        responses: its whole answers, in any order.
        answers: of the list, 2 or more; fewer if there are fewer.
        margin: smallest allowed difference of two rewards, >= 0, on the scale of `Response.reward`.
        max_length_gap: largest allowed difference in words, as a share of the longer answer, 0..1; 1 allows any difference.

    Returns:
        Pairs numbered from 0, at most answers (answers - 1) / 2, or a `Dropped`. Ties go to the lower leaf ids.

    Raises:
        ValueError: a reward is not finite.

    Example: rewards 9 7 6 5 1 with answers=3 -> (9, 1), (6, 1), (9, 6)
    """
    for response in responses:
        if not math.isfinite(response.reward):
            place = f"prompt {prompt.prompt_id}: leaf {response.leaf_id}"
            raise ValueError(f"{place}: the reward is {response.reward}, expected a finite number")
    eligible = {row.leaf_id: row for row in responses if row.finished and row.canonical and row.text.strip()}
    texts: dict[str, Response] = {}
    for row in sorted(eligible.values(), key=lambda row: (-row.reward, row.leaf_id)):
        texts.setdefault(row.text.strip(), row)
    listed = [
        Entry(row.leaf_id, row.text, row.reward, row.words) for row in _spaced(list(texts.values()), answers)
    ]
    similar = [
        pair
        for pair in combinations(listed, 2)
        if furthest_apart(pair, max_length_gap=max_length_gap) is not None
    ]
    wanted = sorted((pair for pair in similar if apart(pair) >= margin), key=apart, reverse=True)
    if not wanted:
        if len(eligible) < 2:
            finished = sum(row.finished for row in responses)
            found = f"{len(responses)} answers, {finished} finished, {len(eligible)} of them with words and canonical"
            return Dropped(prompt.prompt_id, DropReason.NO_RESPONSE.value, found)
        reason, detail = _why_none(listed, similar, margin=margin, max_length_gap=max_length_gap)
        return Dropped(prompt.prompt_id, reason.value, detail)
    sides = [tuple(eligible[entry.node] for entry in pair) for pair in wanted]
    return numbered(
        [paired(prompt, high, low, origin=CSR_SEARCH, margin=high.reward - low.reward) for high, low in sides]
    )


def _spaced(rows: Sequence[Response], count: int) -> list[Response]:
    """Return `count` rows at evenly spaced places, the first and the last among them; all if there are no more."""
    if len(rows) <= count:
        return list(rows)
    step = (len(rows) - 1) / (count - 1)
    return [rows[round(number * step)] for number in range(count)]


def _why_none(
    listed: Sequence[Entry], similar: Sequence[tuple[Entry, Entry]], *, margin: float, max_length_gap: float
) -> tuple[DropReason, str]:
    """Return the reason why a list of answers has no pair, and its figures.

    Args:
        listed: from the best to the worst, 1 or more.
        similar: every two of them that are of similar length.
        margin, max_length_gap: see `select`.
    """
    if len(listed) < 2:
        return DropReason.EQUAL_TEXTS, "all answers have one text"
    gap = f"within a length gap of {max_length_gap:g}"
    if (widest := apart((listed[0], listed[-1]))) < margin:
        return DropReason.UNDER_MARGIN, f"largest difference {widest:.4g} < {margin:g}"
    if not similar:
        return DropReason.LENGTH_GAP, f"no two of a list of {len(listed)} answers {gap}"
    nearest = max(map(apart, similar))
    return DropReason.LENGTH_GAP, f"largest difference {nearest:.4g} < {margin:g} {gap}; {widest:.4g} without"
