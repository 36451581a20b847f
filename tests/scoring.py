"""Measure and score a shard as the stages `measure_signals` and `score_beams` do, for tests of what comes before or after."""

from collections.abc import Sequence
from pathlib import Path

from csrdata.generation.clock import Clock
from csrdata.generation.signals import measure
from csrdata.records import Prompt, Response, Sentence
from csrdata.relevance.base import Scorer
from csrdata.search.responses import score


def scored(
    sentences: Sequence[Sentence], prompts: Sequence[Prompt], *, root: Path, held_out: Scorer
) -> list[Response]:
    """Return the answers of a shard; the held-out scorer also takes the place of the search's for `elsewhere`."""
    signals = measure(
        sentences,
        images={prompt.prompt_id: prompt.image for prompt in prompts},
        root=root,
        scorers={"held_out": held_out},
        search=held_out,
        other_images=2,
        clock=Clock(),
    )
    return score(
        sentences,
        signals,
        signal="search",
        image_weight=0.9,
        scale="zscore",
        repetition_threshold=0.9,
        aggregate_by="mean",
    )
