"""Chosen and rejected from the answers to one prompt, or the reason why there is no pair.

With `max_length_gap=1` and `margin=0` this is the paper's rule: the highest and the lowest cumulative reward among finished
answers. Both knobs exist because rewards depend on length: a sum favours long answers, a mean short ones, and a policy that
learns "shorter is better" hallucinates less only because it says less. `balance` corrects over the whole set what `select`
cannot see in one prompt.

Nothing is lost: every prompt gives one `Pair` or one `Dropped`.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence

from csrdata.records import CSR_SEARCH, Dropped, DropReason, Pair, PairScores, Prompt, Response, Sentence
from csrdata.search.words import word_count


def select(
    prompt: Prompt, responses: Sequence[Response], *, margin: float, max_length_gap: float
) -> Pair | Dropped:
    """Return the two answers whose rewards differ most, or why there are no two.

    Only finished answers with words count, and only canonical ones (tokenising their text gives their tokens again):
    training must see what was scored.

    Args:
        prompt: the prompt that all `responses` answer.
        responses: its whole answers, in any order.
        margin: least difference of rewards, >= 0, on the scale of `Response.reward`.
        max_length_gap: largest difference in words as a share of the longer answer, 0..1; 1 = any.

    Returns:
        A pair with `chosen_reward - rejected_reward >= margin` and different texts (equal rewards and equal differences
        are decided by the lower leaf ids), or a `Dropped`.

    Raises:
        ValueError: a reward is not finite; comparisons with it would be arbitrary.

    Example: rewards 5 4 1 in 10, 9 and 3 words with margin 0.5 -> (5, 1); with max_length_gap=0.5 -> (5, 4)
    """
    for response in responses:
        if not math.isfinite(response.reward):
            place = f"prompt {prompt.prompt_id}: leaf {response.leaf_id}"
            raise ValueError(f"{place}: the reward is {response.reward}, expected a finite number")
    whole = [
        response
        for response in responses
        if response.finished and response.canonical and response.text.strip()
    ]
    widest = _furthest_apart(whole, max_length_gap=1.0)
    if widest is None:
        return _without_pair(prompt, responses, whole)
    chosen, rejected = widest
    difference = chosen.reward - rejected.reward
    if difference < margin:
        return Dropped(
            prompt.prompt_id, DropReason.UNDER_MARGIN, f"largest difference {difference:.4g} < {margin:g}"
        )
    similar = _furthest_apart(whole, max_length_gap=max_length_gap)
    if similar is None:
        detail = f"no two of {len(whole)} answers within a length gap of {max_length_gap:g}"
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
    """Leave out pairs until chosen and rejected answers are equally long on average.

    The gap of a pair is the words of chosen minus those of rejected. Pairs are left out one at a time: the one with the
    largest gap in the direction of the mean that does not reverse the mean beyond the tolerance, so that few are left
    out. Equal gaps are decided by a hash of seed and prompt id; by margin, the clearest preferences might be left out.

    Args:
        pairs: one for each prompt.
        tolerance: words, >= 0: the largest difference of the two means; None leaves the set as it is.
        seed: breaks ties.

    Returns:
        The pairs kept and the prompts left out, both in the order of `pairs`.

    Example: gaps +4 +1 -1 0 with tolerance 0.5 -> the first is left out
    """
    words = {pair.prompt_id: (word_count(pair.chosen), word_count(pair.rejected)) for pair in pairs}
    gaps = {prompt_id: chosen - rejected for prompt_id, (chosen, rejected) in words.items()}
    left_out = set() if tolerance is None else _too_heavy(gaps, tolerance=tolerance, seed=seed)
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


def _without_pair(prompt: Prompt, responses: Sequence[Response], whole: Sequence[Response]) -> Dropped:
    if len(whole) < 2:
        finished = sum(response.finished for response in responses)
        detail = (
            f"{len(responses)} answers, {finished} finished, {len(whole)} of them with words and canonical"
        )
        return Dropped(prompt.prompt_id, DropReason.NO_RESPONSE, detail)
    return Dropped(prompt.prompt_id, DropReason.EQUAL_TEXTS, f"{len(whole)} answers, one text")


def _furthest_apart(whole: Sequence[Response], *, max_length_gap: float) -> tuple[Response, Response] | None:
    """Return the (higher, lower) of different texts and similar length with the largest difference; None without one."""
    falling = sorted(whole, key=lambda response: (-response.reward, response.leaf_id))
    rising = sorted(whole, key=lambda response: (response.reward, response.leaf_id))
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
    """Difference in words as a share of the longer answer, 0..1."""
    return abs(one.words - other.words) / max(one.words, other.words, 1)


def _too_heavy(gaps: dict[str, int], *, tolerance: float, seed: int) -> set[str]:
    """Return the ids to leave out, so that the mean gap is within the tolerance."""
    remaining = sorted(gaps, key=lambda prompt_id: (gaps[prompt_id], _lot(seed, prompt_id)))
    total = sum(gaps.values())
    left_out: set[str] = set()
    while abs(total) > tolerance * len(remaining):
        from_the_heavy_side = reversed(remaining) if total > 0 else remaining
        leaving = _heaviest(from_the_heavy_side, gaps, total=total, least=-tolerance * (len(remaining) - 1))
        leaving = leaving or remaining[-1 if total > 0 else 0]
        remaining.remove(leaving)
        left_out.add(leaving)
        total -= gaps[leaving]
    return left_out


def _heaviest(ids: Iterable[str], gaps: dict[str, int], *, total: int, least: float) -> str | None:
    """Return the first id that can be left out without taking the total, times its sign, below `least`; None without one."""
    sign = 1 if total > 0 else -1
    for prompt_id in ids:
        weight = sign * gaps[prompt_id]
        if weight <= 0:
            return None
        if sign * total - weight >= least:
            return prompt_id
    return None


def _lot(seed: int, prompt_id: str) -> bytes:
    """Return bytes that depend on the seed and the prompt alone."""
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
