"""Sections of params.yaml about evaluation sets, answers and figures."""

from typing import Annotated, Literal

from pydantic import Field

from csrdata.sections.values import (
    Count,
    Line,
    PathText,
    PathTexts,
    Positive,
    Section,
    Seed,
    Strategy,
    Tokens,
    matching,
)
from csrdata.storage.values import MAX_PROMPT


class CocoChairSet(Section):
    kind: Literal["coco_chair"]
    folder: PathText
    instances: PathTexts
    captions: PathTexts
    synonyms: PathText | None
    images: Count
    seed: Seed
    prompt: Annotated[
        str,
        Field(min_length=1, max_length=MAX_PROMPT),
        matching(r"(?s).*\S.*", "text that is not only white space"),
    ]


class PopeSet(Section):
    kind: Literal["pope"]
    folder: PathText
    file: PathText
    strategy: Strategy


class PopeBuiltSet(Section):
    kind: Literal["pope_built"]
    folder: PathText
    instances: PathTexts
    strategy: Strategy
    images: Count
    per_image: Annotated[int, Field(ge=2, le=160, multiple_of=2)]
    seed: Seed


class PromptsSet(Section):
    kind: Literal["prompts"]
    count: Count
    seed: Seed


AnySet = Annotated[CocoChairSet | PopeSet | PopeBuiltSet | PromptsSet, Field(discriminator="kind")]
"""The kinds of evaluation set; docs/evaluation.md describes their keys."""


class EvaluatePolicy(Section):
    decoding: Literal["greedy", "search"]
    max_new_tokens: Tokens
    batch_size: Count


class MatchRecall(Section):
    split: Line
    low: Annotated[float, Field(le=0, ge=-100)]
    high: Annotated[float, Field(ge=0, le=100)]
    step: Positive


class MeasureAttention(Section):
    split: Line
    images: Count


class Summarize(Section):
    resamples: Annotated[int, Field(ge=100, le=10**9)]
    confidence: Annotated[float, Field(gt=0, lt=100)]
    seed: Seed
