"""Yes/no questions: every way of encoding gives what encoding the whole prompt gives, for every family."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from csrdata.errors import UserError
from csrdata.policy import asking
from csrdata.policy.asking import Asker, first_tokens, frame_of
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import CachedPasses, PlainPasses
from csrdata.policy.passes import SharedPasses
from csrdata.policy.prompting import encode, render_prompt
from tests.families import FAMILIES, unlike_pictures
from tests.tiny import picture, tiny_llava

QUESTIONS = ["Is there a star?", "Is this true of the image? A red circle. Answer yes or no.", "Yes or no?"]
SHARED = [name for name in FAMILIES if name not in {"paligemma", "paligemma_template", "mllama"}]
"""Families whose questions share an image's prefix. PaliGemma reads a prompt in both directions."""


def slowly(policy: Policy, image: Image.Image, question: str) -> float:
    """Return P(yes) / (P(yes) + P(no)) from one pass over the whole prompt, summed token by token."""
    inputs = encode(policy.processor, [image], [render_prompt(policy.processor, question)])
    with torch.inference_mode():
        chances = policy.model(**inputs).logits[0, -1].double().softmax(-1).tolist()
    yes, no = (math.fsum(chances[token] for token in ids) for ids in first_tokens(policy.tokenizer))
    return yes / (yes + no)


def shapes(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in unlike_pictures(folder, sizes=((160, 120), (90, 200)))]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "paligemma"])
def test_each_answer_is_that_of_the_whole_prompt(name: str, tmp_path: Path) -> None:
    """Questions of unlike length about images of unlike shape, in one call and in several, within 1e-4."""
    if name == "smolvlm":
        pytest.importorskip("num2words")
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    images = shapes(tmp_path / "images")
    pairs = [(0, QUESTIONS[0]), (1, QUESTIONS[1]), (0, QUESTIONS[1]), (1, QUESTIONS[0]), (0, QUESTIONS[0])]
    asker = Asker(policy, images)
    found = asker.ask([image for image, _ in pairs], [question for _, question in pairs])
    found += asker.ask([1], [QUESTIONS[2]])
    expected = [slowly(policy, images[image], question) for image, question in [*pairs, (1, QUESTIONS[2])]]
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[0] == found[4]
    assert len({round(value, 5) for value in found}) > 2
    assert asker._shares == (name in SHARED or name == "mllama")
    assert isinstance(asker._passes, CachedPasses if name == "mllama" else SharedPasses)
