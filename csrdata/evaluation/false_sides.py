"""How often a side of a pair says something false, where the truth is known.

Only for evaluation: nothing that makes pairs reads it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csrdata.evaluation.truth_preference import false_share
from csrdata.records import Pair, Truth
from csrdata.sources.base import ClaimParser


@dataclass(frozen=True, slots=True)
class FalseSides:
    """The sides of pairs of one origin; a side without a claim, such as the end of an answer, is not counted."""

    chosen: float | None
    """Percent of the chosen sides in which a claim is false; None if none makes a claim."""
    rejected: float | None


def false_sides(
    pairs: Iterable[Pair], truths: Mapping[str, Truth], parser: ClaimParser
) -> dict[str, FalseSides]:
    """Return how often chosen and rejected sides are false, by `Pair.origin`, in the order of the names.

    Args:
        pairs: of an iteration; those of prompts without known truth are left out.
        truths: the truth about each prompt's image, by `prompt_id`.
        parser: the parser of the images' source.
    """
    found: dict[str, tuple[list[bool], list[bool]]] = {}
    for pair in pairs:
        if pair.prompt_id in truths:
            for text, own in zip(
                (pair.chosen, pair.rejected), found.setdefault(pair.origin, ([], [])), strict=True
            ):
                share = false_share(text, truths[pair.prompt_id], parser)
                if share is not None:
                    own.append(share > 0)
    return {origin: FalseSides(*map(_percent, sides)) for origin, sides in sorted(found.items())}


def _percent(false: list[bool]) -> float | None:
    return 100 * sum(false) / len(false) if false else None
