"""Pairs of whole answers, or the reason why a prompt has none.

With `order="reward"`, `max_length_gap=1`, `margin=0` and `per_prompt=1` this is the paper's rule: chosen has the highest and
rejected the lowest cumulative reward among the finished answers. `max_length_gap` and `length_balance` exist because rewards
depend on length: a sum favours long answers, a mean short ones, and a policy that learns to be short hallucinates less only
because it says less. `max_length_gap` limits the length difference of each pair, `length_balance` the mean difference of the
whole set.

Other orders answer what the reward is worth: `random` puts a number in its place that says nothing, `truth` the claims of
the answer, compared with the image. The oracle is for comparison alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrdata.records import (
    CSR_SEARCH,
    ORACLE,
    RANDOM,
    Dropped,
    DropReason,
    Pair,
    Prompt,
    Response,
)
from csrdata.search.paired import paired
from csrdata.search.pairs import (
    Claims,
    CountClaims,
    Entry,
    Outcome,
    apart,
    drawn,
    furthest_apart,
    numbered,
    truth_values,
)

ORIGINS = {"reward": CSR_SEARCH, "random": RANDOM, "truth": ORACLE}
"""`Pair.origin` of each order."""


def make(
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[Response]],
    *,
    order: str,
    margin: float,
    max_length_gap: float,
    per_prompt: int,
    seed: int,
    claims: CountClaims | None = None,
) -> list[Outcome]:
    """Return the pairs of each prompt, or why it has none, in the order of `prompts`.

    Args:
        prompts: those that the policy could take.
        answers: the whole answers to them, by `prompt_id`.
        order, margin, max_length_gap, per_prompt, seed, claims: see `select`.

    Raises:
        ValueError: a reward is not finite.
    """
    outcomes: list[Outcome] = []
    for prompt in prompts:
        found = select(
            prompt,
            answers.get(prompt.prompt_id, ()),
            order=order,
            margin=margin,
            max_length_gap=max_length_gap,
            per_prompt=per_prompt,
            seed=seed,
            claims=claims,
        )
        outcomes += [found] if isinstance(found, Dropped) else found
    return outcomes


def select(
    prompt: Prompt,
    responses: Sequence[Response],
    *,
    order: str,
    margin: float,
    max_length_gap: float,
    per_prompt: int,
    seed: int,
    claims: CountClaims | None = None,
) -> list[Pair] | Dropped:
    """Return the pairs of answers to one prompt, or the reason for no pair.

    Only finished, non-empty, canonical answers count. Canonical means that tokenising the text gives the generated tokens
    again, so that training sees the answer that was scored.

    The first pair is the one whose values differ most. If more are wanted, its two texts are set aside, and the rest gives
    the next pair by the same rule: without a limit on length, these are the best and the worst answer, then the second best
    and the second worst, and so on. No text is in two pairs, and no pair differs by more than the one before it.

    Args:
        prompt: the prompt that all `responses` answer.
        responses: its whole answers, in any order.
        order: what the value of an answer is. `reward`: its reward. `random`: a number of 0..1 drawn from the seed and its
            ids. `truth`: fewest false claims first, then most true ones.
        margin: smallest allowed difference of rewards, >= 0, on the scale of `Response.reward`; only for `reward`.
        max_length_gap: largest allowed difference in words, as a share of the longer answer, 0..1; 1 allows any difference.
        per_prompt: most pairs, 1 or more.
        seed: the numbers of `random` are drawn from it; 0 or more.
        claims: counts the claims of an answer; only for `truth`.

    Returns:
        Pairs of different texts, numbered from 0, or a `Dropped`. Ties go to the lower leaf ids.

    Raises:
        ValueError: a reward is not finite.

    Example: rewards 5 4 1 of answers with 10, 9 and 3 words, with margin 0.5 -> (5, 1); with max_length_gap=0.5 -> (5, 4)
    """
    for response in responses:
        if not math.isfinite(response.reward):
            place = f"prompt {prompt.prompt_id}: leaf {response.leaf_id}"
            raise ValueError(f"{place}: the reward is {response.reward}, expected a finite number")
    eligible = {
        response.leaf_id: response
        for response in responses
        if response.finished and response.canonical and response.text.strip()
    }
    ordered = _order(prompt, list(eligible.values()), order=order, margin=margin, seed=seed, claims=claims)
    entries = [
        Entry(leaf, response.text, ordered.values[leaf], response.words)
        for leaf, response in eligible.items()
    ]
    pairs: list[Pair] = []
    while True:
        widest = furthest_apart(entries, max_length_gap=max_length_gap)
        if widest is None or apart(widest) < ordered.least:
            break
        chosen, rejected = (eligible[entry.node] for entry in widest)
        pairs.append(
            paired(prompt, chosen, rejected, origin=ORIGINS[order], margin=ordered.margin(chosen, rejected))
        )
        if len(pairs) == per_prompt:
            break
        used = {entry.text.strip() for entry in widest}
        entries = [entry for entry in entries if entry.text.strip() not in used]
    if not pairs:
        return _why_none(prompt, responses, entries, ordered, max_length_gap=max_length_gap)
    return numbered(pairs)


@dataclass(frozen=True, slots=True)
class _Ordered:
    """The answers to a prompt in an order."""

    order: str
    values: Mapping[int, float]
    """By leaf id."""
    least: float
    """The smallest allowed difference of two values."""
    claims: Mapping[int, Claims]
    """By leaf id, for an order by truth."""

    def margin(self, chosen: Response, rejected: Response) -> float | None:
        """Return `PairScores.margin`: the difference in what ordered the answers; None for random numbers."""
        match self.order:
            case "reward":
                return chosen.reward - rejected.reward
            case "truth":
                return float(self.claims[rejected.leaf_id].false - self.claims[chosen.leaf_id].false)
        return None

    def too_close(self, pair: tuple[Entry, Entry]) -> tuple[DropReason, str]:
        """Return why the two entries that differ most make no pair, with its figures."""
        if self.order == "truth":
            each = self.claims[pair[0].node]
            detail = f"best and worst have {each.false} false and {each.true} true claims each"
            return DropReason.EQUAL_TRUTH, detail
        return DropReason.UNDER_MARGIN, f"largest difference {apart(pair):.4g} < {self.least:g}"


def _order(
    prompt: Prompt,
    eligible: Sequence[Response],
    *,
    order: str,
    margin: float,
    seed: int,
    claims: CountClaims | None,
) -> _Ordered:
    match order:
        case "reward":
            return _Ordered(order, {one.leaf_id: one.reward for one in eligible}, margin, {})
        case "random":
            numbers = {one.leaf_id: drawn(seed, prompt.prompt_id, one.leaf_id) for one in eligible}
            return _Ordered(order, numbers, 0.0, {})
        case "truth":
            if claims is None:
                raise ValueError("an order by truth needs the count of claims")
            counted = {one.leaf_id: claims(prompt, one.text) for one in eligible}
            return _Ordered(order, truth_values(counted), 1.0, counted)
    raise ValueError(f"the order is {order}, expected one of {', '.join(ORIGINS)}")


def _why_none(
    prompt: Prompt,
    responses: Sequence[Response],
    entries: Sequence[Entry],
    ordered: _Ordered,
    *,
    max_length_gap: float,
) -> Dropped:
    """Return the reason why a prompt has no pair."""
    widest = furthest_apart(entries)
    similar = furthest_apart(entries, max_length_gap=max_length_gap)
    if len(entries) < 2:
        finished = sum(response.finished for response in responses)
        reason = DropReason.NO_RESPONSE
        detail = (
            f"{len(responses)} answers, {finished} finished, {len(entries)} of them with words and canonical"
        )
    elif widest is None:
        reason, detail = DropReason.EQUAL_TEXTS, f"{len(entries)} answers, one text"
    elif apart(widest) < ordered.least:
        reason, detail = ordered.too_close(widest)
    elif similar is None:
        reason = DropReason.LENGTH_GAP
        detail = f"no two of {len(entries)} answers within a length gap of {max_length_gap:g}"
    else:
        reason = DropReason.LENGTH_GAP
        _, figures = ordered.too_close(similar)
        without = f"; {apart(widest):.4g} without" if ordered.order == "reward" else ""
        detail = f"{figures} within a length gap of {max_length_gap:g}{without}"
    return Dropped(prompt.prompt_id, reason.value, detail)
