"""Limits of pixels: set where a processor has them, refused where it has none."""

from pathlib import Path

import pytest
from PIL import Image

from csrdata.errors import UserError
from csrdata.policy.loading import load_processor
from csrdata.policy.pixels import limit_pixels
from csrdata.policy.prompting import encode, render_prompt
from tests.families import FAMILIES


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "glm4v"])
def test_the_limits_decide_how_many_tokens_an_image_has(name: str, tmp_path: Path) -> None:
    """A lower `max_pixels` gives a large image fewer tokens, a higher `min_pixels` a small one more."""
    processor = load_processor(FAMILIES[name](tmp_path))
    prompt = render_prompt(processor, "Describe it.")

    def tokens(side: int) -> int:
        return int(encode(processor, [Image.new("RGB", (side, side))], [prompt])["input_ids"].shape[1])

    large, small = tokens(400), tokens(30)
    limit_pixels(processor, min_pixels=None, max_pixels=64 * 64, place="params.yaml: prepare.policy")
    assert tokens(400) < large
    assert tokens(30) == small
    limit_pixels(processor, min_pixels=64 * 64, max_pixels=10**6, place="params.yaml: prepare.policy")
    assert tokens(400) > large
    limit_pixels(processor, min_pixels=200 * 200, max_pixels=None, place="params.yaml: prepare.policy")
    assert tokens(30) > small


@pytest.mark.parametrize("name", ["llava", "idefics3", "internvl", "gemma3"])
def test_a_processor_without_limits_refuses_them(name: str, tmp_path: Path) -> None:
    """The line names the image processor; null for both is always right."""
    processor = load_processor(FAMILIES[name](tmp_path))
    limit_pixels(processor, min_pixels=None, max_pixels=None, place="x")
    with pytest.raises(UserError, match=r"prepare.policy: got min_pixels None, max_pixels 9, expected null for both: \w+ImageProcessor"):  # fmt: skip
        limit_pixels(processor, min_pixels=None, max_pixels=9, place="params.yaml: prepare.policy")


@pytest.mark.parametrize(("least", "most"), [(0, 9), (10, 9), (None, 1)])
def test_limits_are_a_range(least: int | None, most: int, tmp_path: Path) -> None:
    """The least is 1 or more, and at most the most, the processor's own included."""
    processor = load_processor(FAMILIES["qwen2_vl"](tmp_path))
    with pytest.raises(UserError, match="expected min_pixels of 1 or more, and at most max_pixels"):
        limit_pixels(processor, min_pixels=least, max_pixels=most, place="params.yaml")
