"""Which path a model takes, and that a model that would be wrong on a faster one does not take it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from csrdata.policy import choosing
from csrdata.policy.choosing import PathChoice, choose_path, near, passes_for, prompts_to_compare
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import CachedPasses, PlainPasses
from csrdata.policy.passes import SharedPasses
from csrdata.policy.prefill import Prefilled, prefill
from csrdata.policy.prompting import encode, render_prompt
from tests.families import llava_next, qwen2_vl, unlike_pictures
from tests.tiny import FAMILIES, picture

TEXTS = ["Describe the image.", "What do you see in this picture? Describe it.", "Describe."]


@pytest.fixture(params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> Policy:
    """A tiny policy of each family, its own for each test."""
    build: Callable[[Path], Path] = FAMILIES[request.param]
    return load_policy(build(tmp_path / "policy"))


def encoder(policy: Policy, images: Sequence[Image.Image], texts: Sequence[str] = TEXTS) -> choosing.Encode:
    """Return what encodes these prompts, the images in turn."""
    rendered = [render_prompt(policy.processor, text) for text in texts]
    return lambda numbers: encode(
        policy.processor,
        [images[number % len(images)] for number in numbers],
        [rendered[number] for number in numbers],
    ).to(policy.model.device, policy.model.dtype)


def choose(policy: Policy, images: Sequence[Image.Image], *, answer_tokens: int = 30) -> PathChoice:
    return choose_path(
        policy.model, encoder(policy, images), range(len(TEXTS)), at_once=2, answer_tokens=answer_tokens
    )


def unlike(folder: Path) -> list[Image.Image]:
    """Return two images of unlike shape."""
    return [Image.open(path).convert("RGB") for path in unlike_pictures(folder / "images")]


def test_ordinary_models_share(policy: Policy) -> None:
    """A model whose attention goes through the interface shares; the choice says on what it was compared."""
    choice = choose(policy, [picture(0)])
    assert choice.kind == "shared"
    assert "the log-probabilities of a full pass, on 2 prompts and on" in choice.reason
    assert isinstance(choice.open(policy.model), SharedPasses)


def test_prompts_of_every_image_size_are_compared() -> None:
    """The longest text of each size, and the shortest text of all."""
    sizes = [(9, 9), (9, 9), (5, 9), (5, 9), (9, 5)]
    assert prompts_to_compare(sizes, [3, 4, 2, 7, 5]) == [1, 2, 3, 4]
    assert prompts_to_compare([(9, 9)], [3]) == [0]


def test_positions_of_ones_own_are_told_apart(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that moves the positions it is given, but not those it counts itself, goes without a cache."""
    decoder: Any = policy.model.get_decoder()
    before = policy.model.config.get_text_config()._attn_implementation
    forward = decoder.forward

    def squeezed(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        if position_ids is None:
            return forward(*args, **kwargs)
        return forward(*args, position_ids=(position_ids - 3).clamp(min=0), **kwargs)

    monkeypatch.setattr(decoder, "forward", squeezed)
    with pytest.warns(UserWarning, match="takes the plain path: no shared prefix: .* nats from a full pass"):
        passes = passes_for(
            policy.model, encoder(policy, [picture(0)]), range(3), at_once=2, answer_tokens=30
        )
    assert isinstance(passes, PlainPasses)
    assert policy.model.config.get_text_config()._attn_implementation == before


def test_a_model_without_the_interface_keeps_its_own_cache(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transformers says it."""
    monkeypatch.setattr(type(policy.model), "_can_set_attn_implementation", classmethod(lambda _: False))
    choice = choose(policy, [picture(0)])
    assert choice == PathChoice(
        "cached", "no shared prefix: its attention does not go through transformers' interface"
    )
    assert isinstance(choice.open(policy.model), CachedPasses)


def test_other_kinds_of_layers_do_not_share(policy: Policy) -> None:
    """Chunks of attention are no window; the config names them before a prompt is long enough to show them."""
    policy.model.config.get_text_config().layer_types = ["chunked_attention", "full_attention"]
    assert "its layers are of the kind chunked_attention" in choose(policy, [picture(0)]).reason


@pytest.mark.parametrize(("window", "answer_tokens"), [(24, 30), (110, 60)])
def test_a_window_that_a_layer_does_not_tell_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, answer_tokens: int
) -> None:
    """A window shorter than a prompt, or one that only a long answer leaves: the longest answer is looked at."""
    policy = load_policy(llava_next(tmp_path / "policy", window=window))
    images = unlike(tmp_path)
    assert choose(policy, images, answer_tokens=answer_tokens).kind == "shared"
    monkeypatch.setattr("csrdata.policy.shared_attention.DecodingStep._hidden_by", lambda *_: None)
    choice = choose(policy, images, answer_tokens=answer_tokens)
    assert choice.kind == "cached"
    assert "nats from a full pass behind" in choice.reason


def test_one_image_shape_of_many_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where positions behind tall images alone are wrong, a shard that has one does not share."""
    policy = load_policy(qwen2_vl(tmp_path / "policy"))

    def misplaced(model: Any, inputs: Any, cache: Any) -> Prefilled:
        first = prefill(model, inputs, cache)
        tall = inputs["image_grid_thw"][:, 1] > inputs["image_grid_thw"][:, 2]
        return replace(first, following=first.following + tall)

    monkeypatch.setattr("csrdata.policy.prefill.prefill", misplaced)
    wide, tall = unlike(tmp_path)
    assert choose(policy, [wide]).kind == "shared"
    choice = choose(policy, [wide, tall])
    assert choice.kind == "cached"
    assert "nats from a full pass behind" in choice.reason


def test_rounding_of_half_types_is_no_difference() -> None:
    """In float32 a log-probability may be off by a thousandth, in bfloat16 a twentieth of the mass may be elsewhere."""
    logits = torch.tensor([[8.0, 7.0, -9.0]])
    off = torch.tensor([[8.0, 7.0, -9.5]])
    assert near(logits, logits + 3)
    assert not near(logits, off), "an unlikely token's log-probability"
    assert near(logits.bfloat16(), off.bfloat16())
    assert not near(logits.bfloat16(), torch.tensor([[8.0, 7.5, -9.0]]).bfloat16())


def test_what_is_no_number_is_not_near() -> None:
    """A path that gives NaN is not taken."""
    logits = torch.tensor([[8.0, 7.0, -9.0]])
    assert not near(logits * torch.nan, logits)
