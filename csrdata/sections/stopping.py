"""The section `stop_when` of params.yaml: figures and limits at which the loop stops; null is never.

A limit that could not hold or not fire is refused when params.yaml is read: a loop would otherwise search for hours first.
"""

import math
from typing import Annotated

from pydantic import Field

from csrdata.sections.evaluation import AnySet
from csrdata.sections.method import (
    AnswerPairs,
    AnyPairs,
    ImportedPairs,
    MixedPairs,
    RankedPairs,
    SentencePairs,
)
from csrdata.sections.sources import AnySource, MicroworldSource
from csrdata.sections.values import Count, Line, Section

Fall = Annotated[float, Field(ge=0, lt=100)]
"""All figures are 0 to 100 or percentages: nothing falls by 100 and goes on."""

MICROWORLD_SPLITS = ("validation", "held_out", "out_of_distribution")
"""Splits of the microworld whose images a policy describes; what is in them is known."""


class StopWhen(Section):
    split: Line
    recall_falls: Fall | None
    objects_fall: Fall | None
    held_out_falls: Fall | None
    least_pairs: Count | None


Problem = tuple[str, object, str]
"""The key behind `stop_when`, empty for the section; what it has, and what is expected."""


def problem_of(
    settings: StopWhen,
    *,
    source: AnySource,
    sets: dict[str, AnySet],
    pairs: AnyPairs,
    prompts: int,
    has_held_out: bool,
) -> Problem | None:
    """Return what is wrong with the limits; None if each can hold and each can fire.

    Args:
        settings: the section.
        source: the section `source`.
        sets: the section `evaluation_sets`.
        pairs: the section `select_pairs`.
        prompts: those of `sample_prompts`.
        has_held_out: whether `scorers.held_out` is not null.
    """
    limits = settings.model_dump(exclude={"split"})
    if all(limit is None for limit in limits.values()):
        return "", "no limit", f"one of {', '.join(limits)}, or null for the whole section"
    own = MICROWORLD_SPLITS if isinstance(source, MicroworldSource) else ()
    described = (*own, *(name for name, one in sets.items() if one.kind in {"coco_chair", "prompts"}))
    known = (*own, *(name for name, one in sets.items() if one.kind == "coco_chair"))
    has_figures = any(limits[name] is not None for name in limits if name != "least_pairs")
    if has_figures and settings.split not in described:
        expected = f"a split with descriptions: {_names(described)}"
        return "split", settings.split, expected
    for name in ("recall_falls", "objects_fall"):
        if limits[name] is not None and settings.split not in known:
            expected = f"null: the objects in the images of {settings.split} are unknown"
            return name, limits[name], expected
    if settings.held_out_falls is not None and not has_held_out:
        return "held_out_falls", settings.held_out_falls, "null: scorers.held_out is null"
    most = most_pairs(pairs, prompts=prompts)
    if settings.least_pairs is not None and most is not None and settings.least_pairs > most:
        return (
            "least_pairs",
            settings.least_pairs,
            f"at most {most:,}, the pairs that {prompts:,} prompts can give",
        )
    return None


def most_pairs(settings: AnyPairs, *, prompts: int) -> int | None:
    """Return the most pairs that an iteration can have; None for imported pairs, whose number their folder says."""
    match settings:
        case ImportedPairs():
            return None
        case MixedPairs():
            return prompts * sum(map(_of_a_prompt, settings.parts))
        case AnswerPairs() | SentencePairs():
            return prompts * _of_a_prompt(settings)
        case RankedPairs():
            return prompts * math.comb(settings.answers, 2)
    return prompts


def _of_a_prompt(settings: AnswerPairs | SentencePairs) -> int:
    """Return the most pairs of a prompt: of answers, or of sentences and with the end."""
    if isinstance(settings, AnswerPairs) or settings.ends == "none":
        return settings.per_prompt
    return settings.per_prompt + (settings.ends_per_prompt or settings.per_prompt)


def _names(splits: tuple[str, ...]) -> str:
    return ", ".join(splits) or "there is none, see evaluation_sets"
