"""What pydantic says, in one line, for files whose sections are unions that `kind` tells apart."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csrdata.validation import explain


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Drawn(Section):
    kind: Literal["drawn"]
    images: int
    share: float | None = None


class Owned(Section):
    kind: Literal["owned"]
    folder: str


class Scorer(Section):
    weights: str


class File(Section):
    source: Annotated[Drawn | Owned, Field(discriminator="kind")]
    scorers: dict[str, Scorer]
    names: list[str] = []


GOOD: dict[str, Any] = {"source": {"kind": "drawn", "images": 3}, "scorers": {"search": {"weights": "x"}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"source": {"kind": "drawn", "imges": 3}},
            "f: source.imges: got an unknown key, expected source.images.",
        ),
        (
            {"source": {"kind": "owned", "images": 3}},
            "f: source.images: got an unknown key, expected one of kind, folder.",
        ),
        ({"source": {"kind": "owned"}}, "f: source.folder: got no such key, expected a value."),
        ({"source": {"kind": "drawn", "images": "3"}}, "f: source.images: got 3, expected a valid integer."),
        (
            {"source": {"kind": "drawn", "images": 3, "share": "x"}},
            "f: source.share: got x, expected a valid number.",
        ),
        ({"source": {"kind": "coco"}}, "f: source.kind: got coco, expected one of 'drawn', 'owned'."),
        ({"source": {"images": 3}}, "f: source.kind: got no such key, expected a value."),
        (
            {"scorers": {"search": {"wieghts": "x"}}},
            "f: scorers.search.wieghts: got an unknown key, expected scorers.search.weights.",
        ),
        ({"scorers": {"drawn": {}}}, "f: scorers.drawn.weights: got no such key, expected a value."),
        ({"scorers": {1: {"weights": "x"}}}, 'f: scorers.1: got 1, expected text: "1".'),
        ({"source": 3}, "f: source: got 3, expected"),
        ({"sauce": 3}, "f: sauce: got an unknown key, expected source."),
    ],
)
def test_a_mistake_names_its_key_and_the_one_that_was_meant(change: dict[str, Any], message: str) -> None:
    """The place is made of keys of the file, without pydantic's tags; of a union, only the chosen member's keys are valid."""
    raw = GOOD | change
    with pytest.raises(ValidationError) as caught:
        File.model_validate(raw)
    assert str(explain(caught.value, File, raw, place="f", do="mend f")).startswith(message)
