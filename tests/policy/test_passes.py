"""The passes: their logits, and the errors for a wrong order of calls."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import CachedPasses, plain_logits
from csrdata.policy.passes import Node, SharedPasses
from csrdata.policy.prompting import encode, render_prompt
from tests.tiny import FAMILIES, picture


@pytest.fixture(params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> Policy:
    """A tiny policy of each family, its own for each test."""
    build: Callable[[Path], Path] = FAMILIES[request.param]
    return load_policy(build(tmp_path / "policy"))


def inputs(policy: Policy) -> dict[str, torch.Tensor]:
    return dict(
        encode(policy.processor, [picture(0)], [render_prompt(policy.processor, "Describe the image.")])
    )


def test_plain_logits_of_answers_of_any_length(policy: Policy) -> None:
    """Answers of different lengths in one batch have the same logits as each alone."""
    prompt = inputs(policy)
    answers = [(), (5, 6, 7), (8,)]
    together = plain_logits(policy.model, prompt, answers)
    alone = torch.cat([plain_logits(policy.model, prompt, [answer]) for answer in answers])
    assert torch.allclose(together, alone, atol=1e-4)


def test_a_sentence_encodes_its_image_once(policy: Policy) -> None:
    """The cached path sees the image once per sentence, and asks for the logits of one position."""
    images: list[int] = []
    positions: list[int] = []
    patches = next(module for module in policy.model.modules() if isinstance(module, torch.nn.Conv2d))
    patches.register_forward_hook(lambda *_: images.append(1))
    head = policy.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, hidden: positions.append(hidden[0].shape[1]))
    passes = CachedPasses(policy.model)
    passes.admit([0], inputs(policy))
    passes.begin([Node(0, (), None)], groups=3)
    passes.feed([5, 6, 7])
    passes.keep([0, 2])
    assert passes.feed([8, 9]).shape[0] == 2
    assert (len(images), positions) == (1, [1, 1, 1])
    passes.begin([Node(0, (5, 8), 0), Node(0, (7, 9), 2)], groups=3)
    assert len(images) == 3


def test_depths_need_a_prompt(policy: Policy) -> None:
    """`begin` before `admit` raises."""
    with pytest.raises(ValueError, match="no prompt has been admitted"):
        SharedPasses(policy.model).begin([Node(0, (), None)], groups=2)
