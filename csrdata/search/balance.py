"""The balance of a set of pairs in length: some pairs are left out until chosen and rejected are about equally long."""

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby

from csrdata.records import Dropped, DropReason, Pair
from csrdata.search.pairs import Outcome, hashed, numbered
from csrdata.search.words import word_count

Key = tuple[str, int]
"""A pair by `prompt_id` and `number`."""


def gaps(outcomes: Iterable[Outcome]) -> dict[Key, int]:
    """Return the gap of each pair: the words of chosen minus those of rejected."""
    return {
        _key(pair): word_count(pair.chosen) - word_count(pair.rejected)
        for pair in outcomes
        if isinstance(pair, Pair)
    }


def leave_out(outcomes: Iterable[Outcome], left_out: Collection[Key]) -> list[Outcome]:
    """Return the outcomes without some pairs: the others have new numbers, and a prompt that loses all is dropped.

    Args:
        outcomes: of every prompt: pairs, or one reason; those of a prompt come one after the other.
        left_out: pairs by `prompt_id` and `number`.
    """
    found: list[Outcome] = []
    for prompt_id, group in groupby(outcomes, key=lambda outcome: outcome.prompt_id):
        own = list(group)
        pairs = [one for one in own if isinstance(one, Pair)]
        staying = [pair for pair in pairs if _key(pair) not in left_out]
        found += [one for one in own if isinstance(one, Dropped)]
        found += numbered(staying)
        if pairs and not staying:
            details = "; ".join(map(_detail, pairs))
            found.append(Dropped(prompt_id, DropReason.LENGTH_BALANCE.value, details))
    return found


def _key(pair: Pair) -> Key:
    return pair.prompt_id, pair.number


def _detail(pair: Pair) -> str:
    margin = pair.scores.margin
    detail = f"chosen {word_count(pair.chosen)} words, rejected {word_count(pair.rejected)}"
    return detail if margin is None else f"{detail}; margin {margin:.4g}"


def to_leave_out(gaps: Mapping[Key, int], *, tolerance: float, seed: int) -> set[Key]:
    """Return the pairs to leave out, so that chosen and rejected answers have nearly the same mean length.

    Pairs are left out one at a time, so that few are lost: each time the pair with the largest gap in the direction of the
    mean gap, unless the mean would then exceed the tolerance on the other side. A hash of seed and prompt id decides between
    equal gaps; the margin does not, because that could remove the clearest preferences.

    Args:
        gaps: of all pairs, in words.
        tolerance: largest allowed absolute mean gap, in words, >= 0.
        seed: decides between equal gaps.

    Example: gaps +4 +1 -1 0 with tolerance 0.5 -> the first pair is left out
    """
    ordered = sorted(gaps, key=lambda key: (gaps[key], hashed(seed, key[0]), key[1]))
    longer = _Leaning([key for key in reversed(ordered) if gaps[key] > 0], gaps)
    shorter = _Leaning([key for key in ordered if gaps[key] < 0], gaps)
    total, left_out = sum(gaps.values()), set[Key]()
    while abs(total) > tolerance * (len(gaps) - len(left_out)):
        leaning = longer if total > 0 else shorter
        least = math.ceil(-tolerance * (len(gaps) - len(left_out) - 1))
        leaving = leaning.take(at_most=abs(total) - least)
        left_out.add(leaving)
        total -= gaps[leaving]
    return left_out


class _Leaning:
    """The pairs whose gap has one sign, the largest first; they are taken out one at a time.

    Weights are absolute gaps. `_next` leads from each place to a later one, or to itself where the pair is still there, so
    that all steps together take little more time than there are pairs.
    """

    def __init__(self, keys: Sequence[Key], gaps: Mapping[Key, int]) -> None:
        self._keys = keys
        self._falling = [-abs(gaps[key]) for key in keys]
        self._next = list(range(len(keys) + 1))

    def take(self, *, at_most: int) -> Key:
        """Take out the first pair whose weight is at most `at_most`, or the first of all if none is; return its key."""
        place = self._left(bisect_left(self._falling, -at_most))
        if place == len(self._keys):
            place = self._left(0)
        self._next[place] = place + 1
        return self._keys[place]

    def _left(self, place: int) -> int:
        """Return the first place from `place` on whose pair is still there; the number of pairs if no such pair is left."""
        passed = []
        while self._next[place] != place:
            passed.append(place)
            place = self._next[place]
        for one in passed:
            self._next[one] = place
        return place
