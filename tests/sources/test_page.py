"""docs/sources.md: every example is valid, and no key of a source is missing from it."""

import re
from typing import Any

import pytest
import yaml

from csrdata.params import Params, load_params
from csrdata.sections.sources import FolderSource, HubSource, LlavaSource, MicroworldSource, TableSource
from csrdata.sections.values import Section
from tests.imports import ROOT

PAGE = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
]
SOURCES = {block["source"]["kind"]: block["source"] for block in BLOCKS if "kind" in block.get("source", {})}


@pytest.mark.parametrize("section", [MicroworldSource, LlavaSource, TableSource, FolderSource, HubSource])
def test_every_kind_has_a_valid_example_with_all_keys(section: type[Section]) -> None:
    """The section of params.yaml can be pasted: its keys are those of the code, its values are in range."""
    (kind,) = section.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]
    raw = load_params(ROOT / "params.yaml").model_dump() | {"source": SOURCES[kind]}
    assert Params.model_validate(raw).source.kind == kind
    assert set(SOURCES[kind]) == set(section.model_fields)


def test_the_common_keys_are_valid() -> None:
    """The examples of `images`, `exclude` and `origin` fit any kind of real images."""
    raw = load_params(ROOT / "params.yaml").model_dump()
    for block in BLOCKS:
        if "kind" not in block.get("source", {}):
            source = SOURCES["table"] | block.get("source", {})
            assert Params.model_validate(raw | block | {"source": source})
