"""The choice of a preference pair from the answers to one prompt, or the reason why there is no pair.

With `max_length_gap=1` and `margin=0` this is the paper's rule: chosen has the highest and rejected the lowest cumulative
reward among the finished answers. `max_length_gap` and `balance` exist because rewards depend on length: a sum favours long
answers, a mean short ones, and a policy that learns to be short hallucinates less only because it says less. `select` limits
the length difference of each pair, `balance` the mean difference of the whole set.

Every prompt gives one `Pair` or one `Dropped`, which states the reason.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence

from csrdata.records import CSR_SEARCH, Dropped, DropReason, Pair, PairScores, Prompt, Response, Sentence
from csrdata.search.words import word_count


def select(
    prompt: Prompt, responses: Sequence[Response], *, margin: float, max_length_gap: float
) -> Pair | Dropped:
    """Return the pair of answers whose rewards differ most, or the reason why there is none.

    Only finished, non-empty, canonical answers count. Canonical means that tokenising the text gives the generated tokens
    again, so that training sees the answer that was scored.

    Args:
        prompt: the prompt that all `responses` answer.
        responses: its whole answers, in any order.
        margin: smallest allowed difference of rewards, >= 0, on the scale of `Response.reward`.
        max_length_gap: largest allowed difference in words, as a share of the longer answer, 0..1; 1 allows any difference.

    Returns:
        A pair of different texts with `chosen_reward - rejected_reward >= margin`, or a `Dropped`. Ties go to the lower leaf
        ids.

    Raises:
        ValueError: a reward is not finite.

    Example: rewards 5 4 1 of answers with 10, 9 and 3 words, with margin 0.5 -> (5, 1); with max_length_gap=0.5 -> (5, 4)
    """
    for response in responses:
        if not math.isfinite(response.reward):
            place = f"prompt {prompt.prompt_id}: leaf {response.leaf_id}"
            raise ValueError(f"{place}: the reward is {response.reward}, expected a finite number")
    eligible = [
        response
        for response in responses
        if response.finished and response.canonical and response.text.strip()
    ]
    widest = _furthest_apart(eligible, max_length_gap=1.0)
    if widest is None:
        return _without_pair(prompt, responses, eligible)
    chosen, rejected = widest
    difference = chosen.reward - rejected.reward
    if difference < margin:
        return Dropped(
            prompt.prompt_id, DropReason.UNDER_MARGIN, f"largest difference {difference:.4g} < {margin:g}"
        )
    similar = _furthest_apart(eligible, max_length_gap=max_length_gap)
    if similar is None:
        detail = f"no two of {len(eligible)} answers within a length gap of {max_length_gap:g}"
        return Dropped(prompt.prompt_id, DropReason.LENGTH_GAP, detail)
    chosen, rejected = similar
    similar_difference = chosen.reward - rejected.reward
    if similar_difference < margin:
        detail = (
            f"largest difference {similar_difference:.4g} < {margin:g} within a length gap of {max_length_gap:g}; "
            f"{difference:.4g} without"
        )
        return Dropped(prompt.prompt_id, DropReason.LENGTH_GAP, detail)
    return _pair(prompt, chosen, rejected)


def refused(row: Sentence) -> Dropped:
    """Return a prompt that the policy could not take as dropped: the reason is the row's `stop`, the figures its text."""
    return Dropped(row.prompt_id, DropReason(row.stop).value, row.text)


def balance(pairs: Sequence[Pair], *, tolerance: float | None, seed: int) -> tuple[list[Pair], list[Dropped]]:
    """Leave out pairs until chosen and rejected answers have nearly the same mean length.

    The gap of a pair is the number of words of chosen minus that of rejected. Pairs are left out one at a time, so that few
    are lost: each time the pair with the largest gap in the direction of the mean gap, unless the mean would then exceed the
    tolerance on the other side. A hash of seed and prompt id decides between equal gaps; the margin does not, because that
    could remove the clearest preferences.

    Args:
        pairs: at most one per prompt.
        tolerance: largest allowed absolute mean gap, in words, >= 0; None keeps all pairs.
        seed: decides between equal gaps.

    Returns:
        The kept pairs and the dropped prompts, both in the order of `pairs`.

    Example: gaps +4 +1 -1 0 with tolerance 0.5 -> the first pair is left out
    """
    words = {pair.prompt_id: (word_count(pair.chosen), word_count(pair.rejected)) for pair in pairs}
    gaps = {prompt_id: chosen - rejected for prompt_id, (chosen, rejected) in words.items()}
    left_out = set() if tolerance is None else _to_leave_out(gaps, tolerance=tolerance, seed=seed)
    kept = [pair for pair in pairs if pair.prompt_id not in left_out]
    dropped = [
        Dropped(pair.prompt_id, DropReason.LENGTH_BALANCE, _balance_detail(pair, *words[pair.prompt_id]))
        for pair in pairs
        if pair.prompt_id in left_out
    ]
    return kept, dropped


def _balance_detail(pair: Pair, chosen: int, rejected: int) -> str:
    margin = pair.scores.margin
    detail = f"chosen {chosen} words, rejected {rejected}"
    return detail if margin is None else f"{detail}; margin {margin:.4g}"


def _without_pair(prompt: Prompt, responses: Sequence[Response], eligible: Sequence[Response]) -> Dropped:
    if len(eligible) < 2:
        finished = sum(response.finished for response in responses)
        detail = (
            f"{len(responses)} answers, {finished} finished, {len(eligible)} of them with words and canonical"
        )
        return Dropped(prompt.prompt_id, DropReason.NO_RESPONSE, detail)
    return Dropped(prompt.prompt_id, DropReason.EQUAL_TEXTS, f"{len(eligible)} answers, one text")


def _furthest_apart(
    eligible: Sequence[Response], *, max_length_gap: float
) -> tuple[Response, Response] | None:
    """Return the (higher, lower) answers of different text and similar length whose rewards differ most, or None."""
    falling = sorted(eligible, key=lambda response: (-response.reward, response.leaf_id))
    rising = sorted(eligible, key=lambda response: (response.reward, response.leaf_id))
    best: tuple[Response, Response] | None = None
    widest = -1.0
    for high in falling:
        for low in rising:
            difference = high.reward - low.reward
            if difference <= widest:
                break
            different = high.text.strip() != low.text.strip()
            if difference >= 0 and different and _length_gap(high, low) <= max_length_gap:
                best, widest = (high, low), difference
                break
    return best


def _length_gap(one: Response, other: Response) -> float:
    """Return the difference in words as a share of the longer answer, 0..1."""
    return abs(one.words - other.words) / max(one.words, other.words, 1)


def _to_leave_out(gaps: dict[str, int], *, tolerance: float, seed: int) -> set[str]:
    """Return the ids of the pairs to leave out, so that the mean gap is within the tolerance."""
    remaining = sorted(gaps, key=lambda prompt_id: (gaps[prompt_id], _tie_break(seed, prompt_id)))
    total = sum(gaps.values())
    left_out: set[str] = set()
    while abs(total) > tolerance * len(remaining):
        largest_first = reversed(remaining) if total > 0 else remaining
        leaving = _first_removable(largest_first, gaps, total=total, least=-tolerance * (len(remaining) - 1))
        leaving = leaving or remaining[-1 if total > 0 else 0]
        remaining.remove(leaving)
        left_out.add(leaving)
        total -= gaps[leaving]
    return left_out


def _first_removable(ids: Iterable[str], gaps: dict[str, int], *, total: int, least: float) -> str | None:
    """Return the first id without which the total, times its sign, is still at least `least`, or None."""
    sign = 1 if total > 0 else -1
    for prompt_id in ids:
        weight = sign * gaps[prompt_id]
        if weight <= 0:
            return None
        if sign * total - weight >= least:
            return prompt_id
    return None


def _tie_break(seed: int, prompt_id: str) -> bytes:
    """Return bytes for the order of equal gaps; they depend on the seed and the prompt id alone."""
    return hashlib.blake2b(f"{seed}:{prompt_id}".encode(), digest_size=8).digest()


def _pair(prompt: Prompt, chosen: Response, rejected: Response) -> Pair:
    return Pair(
        prompt_id=prompt.prompt_id,
        image=prompt.image,
        prompt=prompt.text,
        chosen=chosen.text,
        rejected=rejected.text,
        origin=CSR_SEARCH,
        scores=PairScores(
            chosen_leaf=chosen.leaf_id,
            rejected_leaf=rejected.leaf_id,
            chosen_reward=chosen.reward,
            rejected_reward=rejected.reward,
            margin=chosen.reward - rejected.reward,
            chosen_reward_held_out=chosen.reward_held_out,
            rejected_reward_held_out=rejected.reward_held_out,
            chosen_relevance=chosen.relevance,
            rejected_relevance=rejected.relevance,
            chosen_logprob=chosen.logprob,
            rejected_logprob=rejected.logprob,
            chosen_tokens=chosen.tokens,
            rejected_tokens=rejected.tokens,
            chosen_words=chosen.words,
            rejected_words=rejected.words,
            chosen_end=chosen.end,
            rejected_end=rejected.end,
        ),
    )
