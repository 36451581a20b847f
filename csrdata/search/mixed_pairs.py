"""Pairs of several kinds: those of every part, one after the other, with new numbers."""

from collections.abc import Sequence

from csrdata.records import Dropped, Pair, Prompt
from csrdata.search.pairs import Outcome, numbered


def make(prompts: Sequence[Prompt], parts: Sequence[tuple[str, Sequence[Outcome]]]) -> list[Outcome]:
    """Return the pairs of all parts, prompt by prompt, or why no part has one, in the order of `prompts`.

    A pair that an earlier part has made, with the same context and the same two sides, is not made again. A prompt without
    any pair has the first part's reason, and the details of all.

    Args:
        prompts: those that the policy could take.
        parts: name and outcomes of each; every prompt has a pair or a reason in every part.
    """
    by_prompt: dict[str, list[tuple[str, Outcome]]] = {}
    for name, outcomes in parts:
        for outcome in outcomes:
            by_prompt.setdefault(outcome.prompt_id, []).append((name, outcome))
    return [outcome for prompt in prompts for outcome in _mixed(by_prompt[prompt.prompt_id])]


def _mixed(outcomes: Sequence[tuple[str, Outcome]]) -> Sequence[Outcome]:
    pairs: dict[tuple[str, str, str, bool, bool], Pair] = {}
    for _, one in outcomes:
        if isinstance(one, Pair):
            sides = (one.context, one.chosen, one.rejected, one.chosen_complete, one.rejected_complete)
            pairs.setdefault(sides, one)
    if pairs:
        return numbered(list(pairs.values()))
    reasons = [(name, one) for name, one in outcomes if isinstance(one, Dropped)]
    details = "; ".join(f"{name}: {one.reason}, {one.detail}" for name, one in reasons)
    return [Dropped(reasons[0][1].prompt_id, reasons[0][1].reason, details)]
