"""Sections of params.yaml that say where images and prompts come from."""

from typing import Annotated, Literal

from pydantic import Field

from csrdata.sections.values import (
    Count,
    Even,
    HubName,
    LicenceName,
    Line,
    PathText,
    Revision,
    Section,
    Seed,
)
from csrdata.storage.values import MAX_PROMPT


class Images(Section):
    root: PathText


class MicroworldSource(Section):
    kind: Literal["microworld"]
    seed: Seed
    train_images: Count
    validation_images: Count
    held_out_images: Count
    out_of_distribution_images: Count
    test_images: Count
    test_seed: Seed
    questions_per_image: Even


class StatedOrigin(Section):
    images: Line | None
    licence: LicenceName | None
    outputs: Line | None
    policy: LicenceName | None


class RealSource(Section):
    """What every source of real data has."""

    exclude: PathText | None
    origin: StatedOrigin


class LlavaSource(RealSource):
    kind: Literal["llava"]
    files: Annotated[list[PathText], Field(min_length=1, max_length=1000)]
    folder: PathText


class TableSource(RealSource):
    kind: Literal["table"]
    file: PathText
    image_column: Line
    prompt_column: Line
    id_column: Line | None
    kind_column: Line | None


class FolderSource(RealSource):
    kind: Literal["folder"]
    folder: PathText
    prompts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]], Field(min_length=1, max_length=1000)
    ]


class HubSource(RealSource):
    kind: Literal["hub"]
    id: HubName
    revision: Revision
    config: Line | None
    split: Line
    image_column: Line
    prompt_column: Line
    id_column: Line | None
    kind_column: Line | None
    folder: PathText


AnySource = Annotated[
    MicroworldSource | LlavaSource | TableSource | FolderSource | HubSource, Field(discriminator="kind")
]
"""The kinds of source."""


class SamplePrompts(Section):
    prompts: Count
    seed: Seed
