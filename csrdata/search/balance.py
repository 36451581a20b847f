"""The balance of a set of pairs in length: some pairs are left out until chosen and rejected are about equally long."""

from collections.abc import Collection, Iterable, Mapping
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
    remaining = sorted(gaps, key=lambda key: (gaps[key], hashed(seed, key[0]), key[1]))
    total = sum(gaps.values())
    left_out: set[Key] = set()
    while abs(total) > tolerance * len(remaining):
        largest_first = reversed(remaining) if total > 0 else remaining
        leaving = _first_removable(largest_first, gaps, total=total, least=-tolerance * (len(remaining) - 1))
        leaving = leaving or remaining[-1 if total > 0 else 0]
        remaining.remove(leaving)
        left_out.add(leaving)
        total -= gaps[leaving]
    return left_out


def _first_removable(keys: Iterable[Key], gaps: Mapping[Key, int], *, total: int, least: float) -> Key | None:
    """Return the first pair without which the total, times its sign, is still at least `least`, or None."""
    sign = 1 if total > 0 else -1
    for key in keys:
        weight = sign * gaps[key]
        if weight <= 0:
            return None
        if sign * total - weight >= least:
            return key
    return None
