"""`passes_for`: a model shares a prefix only if it computes the same log-probabilities that way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.passes import Node, PlainPasses, SharedPasses, near, passes_for, plain_logits
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


def test_ordinary_models_share(policy: Policy) -> None:
    """A model that uses the attention interface gets shared passes."""
    assert isinstance(passes_for(policy.model, inputs(policy)), SharedPasses)


def test_positions_of_ones_own_are_found_out(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that counts image tokens as one position gets plain passes, and its attention is set back."""
    decoder: Any = policy.model.get_decoder()
    before = policy.model.config.get_text_config()._attn_implementation
    forward = decoder.forward

    def squeezed(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        if position_ids is None:
            return forward(*args, **kwargs)
        return forward(*args, position_ids=(position_ids - 3).clamp(min=0), **kwargs)

    monkeypatch.setattr(decoder, "forward", squeezed)
    with pytest.warns(UserWarning, match="cannot be decoded over a shared prefix"):
        assert isinstance(passes_for(policy.model, inputs(policy)), PlainPasses)
    assert policy.model.config.get_text_config()._attn_implementation == before


def test_rounding_of_half_types_is_no_difference() -> None:
    """In float32 a log-probability may differ by 0.001, in bfloat16 the total variation may be 0.05."""
    logits = torch.tensor([[8.0, 7.0, -9.0]])
    off = torch.tensor([[8.0, 7.0, -9.5]])
    assert near(logits, logits + 3)
    assert not near(logits, off), "an unlikely token's log-probability"
    assert near(logits.bfloat16(), off.bfloat16())
    assert not near(logits.bfloat16(), torch.tensor([[8.0, 7.5, -9.0]]).bfloat16())


def test_a_sliding_window_goes_plainly(policy: Policy) -> None:
    """A sliding window longer than the prompt does not change the logits: the config decides."""
    policy.model.config.get_text_config().layer_types = ["sliding_attention", "full_attention"]
    with pytest.warns(UserWarning, match="cannot be decoded over a shared prefix"):
        assert isinstance(passes_for(policy.model, inputs(policy)), PlainPasses)


def test_a_model_without_the_interface_goes_plainly(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model for which transformers cannot set an attention implementation gets plain passes."""
    monkeypatch.setattr(type(policy.model), "_can_set_attn_implementation", classmethod(lambda _: False))
    with pytest.warns(UserWarning, match="cannot be decoded over a shared prefix"):
        assert isinstance(passes_for(policy.model, inputs(policy)), PlainPasses)


def test_plain_logits_of_answers_of_any_length(policy: Policy) -> None:
    """Answers of different lengths in one batch have the same logits as each alone."""
    prompt = inputs(policy)
    answers = [(), (5, 6, 7), (8,)]
    together = plain_logits(policy.model, prompt, answers)
    alone = torch.cat([plain_logits(policy.model, prompt, [answer]) for answer in answers])
    assert torch.allclose(together, alone, atol=1e-4)


def test_depths_need_a_prompt(policy: Policy) -> None:
    """`begin` before `admit` raises."""
    with pytest.raises(ValueError, match="no prompt has been admitted"):
        SharedPasses(policy.model).begin([Node(0, (), None)], groups=2)
