"""Types of single values in params.yaml, and what all sections have in common."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from csrdata.storage.values import MAX_PATH, MAX_TOKENS


def matching(pattern: str, words: str) -> AfterValidator:
    """Return a check that the whole of a text matches a regular expression; its error says in words what is expected."""
    form = re.compile(pattern)

    def check(text: str) -> str:
        if form.fullmatch(text) is None:
            raise PydanticCustomError("text_form", "{words}", {"words": words})
        return text

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1, le=10**9)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
"""Bounded by what a table may hold: a longer answer would be refused when it is read."""
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""The seeds that torch accepts."""
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Strategy = Literal["random", "popular", "adversarial"]
Even = Annotated[int, Field(ge=0, le=10**9, multiple_of=2)]
PRINTABLE = matching(r"[^\x00-\x1f\x7f]+", "one line without control characters")
PathText = Annotated[str, Field(min_length=1, max_length=MAX_PATH), PRINTABLE]
"""A file or folder: relative to the project, or absolute; or, where params.yaml says so, relative to the images root."""
PathTexts = Annotated[list[PathText], Field(min_length=1, max_length=100)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_PATH), PRINTABLE]
HubName = Annotated[
    str,
    Field(max_length=200),
    matching(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", "the name of a repository, such as owner/name"),
]
Revision = Annotated[
    str, Field(max_length=200), matching(r"[A-Za-z0-9][\w./-]*", "a commit, a branch or a tag")
]
ScaleName = Literal["raw", "unit", "geometric", "rank", "zscore", "sibling_rank"]
"""The scales of a reward; guidance by likelihood has one more (`csrdata.search.reward.Scale`)."""


class Section(BaseModel):
    """A section of params.yaml: frozen, no unknown keys, no silent conversion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Dtype = Literal["float32", "bfloat16", "float16"]
Numbers = Literal[Dtype, "nf4"]
LicenceName = Annotated[
    str,
    Field(max_length=100),
    matching(r"[a-z0-9][a-z0-9.-]*", "the short name of a licence in small letters, such as cc-by-4.0"),
]
