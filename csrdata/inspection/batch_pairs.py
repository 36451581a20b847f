"""The pairs of many prompts at once: what `csrdata.search.answer_pairs.select` chooses by reward, prompt by prompt.

Answers are rows of a matrix, one row for each prompt, in the order of their leaves; rows are filled up to the longest.
"""

import numpy as np

from csrdata.inspection.batch_rewards import Bools, Floats, Integers

NONE = -1
"""In place of a missing answer."""


def allowed_pairs(texts: Integers, words: Integers, there: Bools, *, max_length_gap: float) -> Bools:
    """Return which two answers of a prompt may be a pair, [P, N, N].

    Args:
        texts: a number for each text, equal for equal ones, [P, N].
        words: length of each answer, [P, N].
        there: whether the place has an answer, [P, N].
        max_length_gap: largest allowed difference in words, as a share of the longer answer, 0..1.
    """
    one, other = words[:, :, None], words[:, None, :]
    gaps = np.abs(one - other) / np.maximum(np.maximum(one, other), 1)
    different = texts[:, :, None] != texts[:, None, :]
    found: Bools = different & (gaps <= max_length_gap) & there[:, :, None] & there[:, None, :]
    return found


def select(
    values: Floats, texts: Integers, there: Bools, allowed: Bools, *, margin: float, per_prompt: int
) -> tuple[Integers, Integers]:
    """Return the chosen and the rejected answers of every prompt, [P, per_prompt] each, `NONE` where there is no pair.

    Args:
        values: what orders the answers, [P, N], finite.
        texts, there: as in `allowed_pairs`.
        allowed: what it returned.
        margin: smallest allowed difference of values.
        per_prompt: most pairs, 1 or more.
    """
    chosen = np.full((len(values), per_prompt), NONE)
    rejected = chosen.copy()
    rows, left = np.arange(len(values)), there
    for number in range(per_prompt):
        high, low = _furthest_apart(values, left, allowed)
        every = np.arange(len(rows))
        apart = values[every, high] - values[every, low]
        good = np.flatnonzero((high != NONE) & ~(apart < margin))
        rows, high, low = rows[good], high[good], low[good]
        chosen[rows, number], rejected[rows, number] = high, low
        if number + 1 < per_prompt:
            values, allowed, own = values[good], allowed[good], texts[rows]
            every = np.arange(len(rows))
            used = (own == own[every, high, None]) | (own == own[every, low, None])
            left = left[good] & ~used
    return chosen, rejected


def _furthest_apart(values: Floats, left: Bools, allowed: Bools) -> tuple[Integers, Integers]:
    """Return (higher, lower) of each prompt as `csrdata.search.pairs.furthest_apart` does; `NONE` without such a pair."""
    if not values.size:
        return np.full(len(values), NONE), np.full(len(values), NONE)
    every = np.arange(len(values))
    high = np.where(left, values, -np.inf).argmax(axis=1)
    low = np.where(left, values, np.inf).argmin(axis=1)
    # The best against the worst, if these two may be a pair; else all pairs are compared.
    rest = np.flatnonzero(~(allowed[every, high, low] & left[every, high] & left[every, low]))
    if len(rest):
        high[rest], low[rest] = _of_all(values[rest], left[rest], allowed[rest])
    return high, low


def _of_all(values: Floats, left: Bools, allowed: Bools) -> tuple[Integers, Integers]:
    """Return the same by comparing all pairs; ties go to the earlier one by falling higher, then by rising lower value."""
    every, count = np.arange(len(values)), values.shape[1]
    falling = np.argsort(np.where(left, -values, np.inf), axis=1, kind="stable")
    rising = np.argsort(np.where(left, values, np.inf), axis=1, kind="stable")
    row, high, low = every[:, None, None], falling[:, :, None], rising[:, None, :]
    apart = values[row, high] - values[row, low]
    good = allowed[row, high, low] & left[row, high] & left[row, low] & (apart >= 0)
    flat = np.where(good, apart, -1.0).reshape(len(values), -1)
    best = flat.argmax(axis=1)
    found = flat[every, best] >= 0
    return (
        np.where(found, falling[every, best // count], NONE),
        np.where(found, rising[every, best % count], NONE),
    )
