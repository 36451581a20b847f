"""Sections of params.yaml about the base policy and the scorers."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from csrdata.pinned import Pixels
from csrdata.sections.values import (
    Count,
    HubName,
    Line,
    PathText,
    Positive,
    Revision,
    Section,
    Seed,
    Share,
    matching,
)


class MicroworldModels(Section):
    kind: Literal["microworld"]
    seed: Seed
    scorer_images: Count
    scorer_steps: Count
    held_out_scorer_steps: Count
    scorer_batch: Annotated[int, Field(ge=2, le=10**9)]
    scorer_learning_rate: Positive
    matrix_learning_rate: Positive
    policy_images: Count
    policy_steps: Count
    policy_batch: Count
    policy_learning_rate: Positive
    stereotype_rate: Share
    question_share: Share
    judging_share: Share
    metric_images: Count


class HubModel(Section):
    """A model of the Hub: `{id: OWNER/NAME, revision: a branch, tag, commit or null}`."""

    id: HubName
    revision: Revision | None


class FolderModel(Section):
    """A model in a folder: `{folder: PATH}`."""

    folder: PathText


def _where(value: object) -> str:
    return (
        "folder"
        if isinstance(value, FolderModel) or (isinstance(value, dict) and "folder" in value)
        else "hub"
    )


class PretrainedModels(Section):
    kind: Literal["pretrained"]
    policy: Annotated[
        Annotated[HubModel, Tag("hub")] | Annotated[FolderModel, Tag("folder")], Discriminator(_where)
    ]
    min_pixels: Pixels | None
    max_pixels: Pixels | None


class OpenClipScorer(Section):
    kind: Literal["open_clip"]
    folder: PathText


OpenClipName = Annotated[
    str,
    Field(max_length=100),
    matching(r"[A-Za-z0-9_.-]+", "a name of open_clip: letters, digits, '_', '.' and '-'"),
]


class OpenClipNameScorer(Section):
    kind: Literal["open_clip_name"]
    name: OpenClipName
    tag: OpenClipName


class OpenClipHubScorer(Section):
    kind: Literal["open_clip_hub"]
    id: HubName
    revision: Revision | None


class DetectorScorer(Section):
    kind: Literal["detector"]
    folder: PathText


class NoisyScorer(Section):
    kind: Literal["noisy"]
    folder: PathText
    deviation: Annotated[Positive, Field(le=100)]
    seed: Seed


class SelfCheckScorer(Section):
    kind: Literal["self_check"]


class JudgeScorer(Section):
    kind: Literal["judge"]
    folder: PathText
    question: (
        Annotated[
            Line,
            matching(
                r"[^{}]*\{sentence\}[^{}]*", "a question with {sentence} in it once, and no other braces"
            ),
        ]
        | None
    )


SingleScorer = Annotated[OpenClipScorer | OpenClipNameScorer | OpenClipHubScorer, Field(discriminator="kind")]
"""The kinds of scorer that are one model."""


class Member(Section):
    weight: Positive
    scorer: SingleScorer


class EnsembleScorer(Section):
    kind: Literal["ensemble"]
    members: Annotated[list[Member], Field(min_length=2, max_length=16)]


AnyModels = Annotated[MicroworldModels | PretrainedModels, Field(discriminator="kind")]
"""The ways to get the base policy; another one is added in the same way."""
AnyScorer = Annotated[
    OpenClipScorer
    | OpenClipNameScorer
    | OpenClipHubScorer
    | EnsembleScorer
    | NoisyScorer
    | DetectorScorer
    | SelfCheckScorer
    | JudgeScorer,
    Field(discriminator="kind"),
]
"""The kinds of scorer; another one is added in the same way."""


class Scorers(Section):
    search: AnyScorer
    held_out: AnyScorer | None
    others: dict[str, AnyScorer]
