"""The balance of a set of pairs in length: some pairs are left out until chosen and rejected are about equally long."""

from collections.abc import Iterable, Mapping, Sequence

from csrdata.records import Dropped, DropReason, Pair
from csrdata.search.pairs import hashed, numbered
from csrdata.search.words import word_count

_Key = tuple[str, int]
"""A pair by `prompt_id` and `number`."""


def balance(pairs: Sequence[Pair], *, tolerance: float | None, seed: int) -> tuple[list[Pair], list[Dropped]]:
    """Leave out pairs until chosen and rejected answers have nearly the same mean length.

    The gap of a pair is the number of words of chosen minus that of rejected. Pairs are left out one at a time, so that few
    are lost: each time the pair with the largest gap in the direction of the mean gap, unless the mean would then exceed the
    tolerance on the other side. A hash of seed and prompt id decides between equal gaps; the margin does not, because that
    could remove the clearest preferences.

    Args:
        pairs: those of a prompt one after the other.
        tolerance: largest allowed absolute mean gap, in words, >= 0; None keeps all pairs.
        seed: decides between equal gaps.

    Returns:
        The kept pairs, with new numbers, and the prompts that lost all of theirs; both in the order of `pairs`.

    Example: gaps +4 +1 -1 0 with tolerance 0.5 -> the first pair is left out
    """
    words = {_key(pair): (word_count(pair.chosen), word_count(pair.rejected)) for pair in pairs}
    gaps = {key: chosen - rejected for key, (chosen, rejected) in words.items()}
    left_out = set() if tolerance is None else _to_leave_out(gaps, tolerance=tolerance, seed=seed)
    by_prompt: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair.prompt_id, []).append(pair)
    kept: list[Pair] = []
    dropped: list[Dropped] = []
    for prompt_id, own in by_prompt.items():
        staying = [pair for pair in own if _key(pair) not in left_out]
        kept += numbered(staying)
        if not staying:
            details = "; ".join(_detail(pair, *words[_key(pair)]) for pair in own)
            dropped.append(Dropped(prompt_id, DropReason.LENGTH_BALANCE.value, details))
    return kept, dropped


def _key(pair: Pair) -> _Key:
    return pair.prompt_id, pair.number


def _detail(pair: Pair, chosen: int, rejected: int) -> str:
    margin = pair.scores.margin
    detail = f"chosen {chosen} words, rejected {rejected}"
    return detail if margin is None else f"{detail}; margin {margin:.4g}"


def _to_leave_out(gaps: Mapping[_Key, int], *, tolerance: float, seed: int) -> set[_Key]:
    """Return the pairs to leave out, so that the mean gap is within the tolerance."""
    remaining = sorted(gaps, key=lambda key: (gaps[key], hashed(seed, key[0]), key[1]))
    total = sum(gaps.values())
    left_out: set[_Key] = set()
    while abs(total) > tolerance * len(remaining):
        largest_first = reversed(remaining) if total > 0 else remaining
        leaving = _first_removable(largest_first, gaps, total=total, least=-tolerance * (len(remaining) - 1))
        leaving = leaving or remaining[-1 if total > 0 else 0]
        remaining.remove(leaving)
        left_out.add(leaving)
        total -= gaps[leaving]
    return left_out


def _first_removable(
    keys: Iterable[_Key], gaps: Mapping[_Key, int], *, total: int, least: float
) -> _Key | None:
    """Return the first pair without which the total, times its sign, is still at least `least`, or None."""
    sign = 1 if total > 0 else -1
    for key in keys:
        weight = sign * gaps[key]
        if weight <= 0:
            return None
        if sign * total - weight >= least:
            return key
    return None
