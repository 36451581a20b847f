"""Adapters in 16 bits: they stay on top of the base, so that nothing is rounded away and no float32 copy is needed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForImageTextToText

from csrdata.errors import UserError
from csrdata.policy.loading import Dtype, base_in_place_of, load_policy, new_chain
from csrdata.policy.stacked import StackedLinear, Update, merged, stack, stacked_layers
from csrdata.policy.training import language_layers
from tests.policy.test_loading import chain_of_two, logits, write_adapter
from tests.tiny import FAMILIES

HALVES: list[Dtype] = ["bfloat16", "float16"]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy whose weights are bfloat16 on the disk, as those of large models are."""
    monkeypatch.chdir(tmp_path)
    folder = FAMILIES["llava"](Path("policies/base"))
    AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def share(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return how much of a wanted change is in the one found: 1 is all of it, 0 nothing."""
    return float((found * wanted).sum() / (wanted * wanted).sum())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_nothing_of_a_small_update_is_rounded_away(dtype: torch.dtype) -> None:
    """An update far below the weights' last bit reaches the output whole; merged and rounded, nothing is left of it."""
    torch.manual_seed(0)
    layer = nn.Linear(256, 256).to(dtype)
    update = Update(torch.randn(4, 256) * 0.02, torch.randn(256, 4) * 2e-6, 2.0)
    stacked = StackedLinear(layer, [update])
    rows = torch.randn(20_000, 256).to(dtype)
    wanted = rows.float() @ (2.0 * update.up @ update.down).t()
    with torch.no_grad():
        plain = layer(rows).float()
        assert share(stacked(rows).float() - plain, wanted) == pytest.approx(1, abs=0.25)
        rounded = nn.functional.linear(rows, merged(layer.weight, [update]).to(dtype), layer.bias).float()
        assert abs(share(rounded - plain, wanted)) < 0.6
    stacked.on = False
    assert torch.equal(stacked(rows), layer(rows))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_chain_in_16_bits_is_the_chain(base: Path, dtype: Dtype) -> None:
    """The weights are the base's, bit for bit, and the logits change as they do in float32."""
    folder = chain_of_two(base)
    exact, plain = load_policy(folder), load_policy(base)
    half, half_plain = load_policy(folder, dtype=dtype), load_policy(base, dtype=dtype)
    state, wanted = half.model.state_dict(), half_plain.model.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    change = logits(exact.model, exact.processor) - logits(plain.model, plain.processor)
    found = logits(half.model, half.processor) - logits(half_plain.model, half_plain.processor)
    assert share(found, change) == pytest.approx(1, abs=0.1)


def test_loading_makes_no_float32_copy(base: Path) -> None:
    """While a chain is loaded in bfloat16, no float32 tensor is as large as a weight of the base."""
    folder = chain_of_two(base)
    largest: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, arguments: Any = (), options: Any = None
        ) -> Any:
            found = function(*arguments, **(options or {}))
            if (
                isinstance(found, torch.Tensor)
                and found.dtype == torch.float32
                and found.device.type == "cpu"
            ):
                largest.append(found.numel())
            return found

    with Watch():
        policy = load_policy(folder, dtype="bfloat16")
    smallest = min(layer.weight.numel() for layer in stacked_layers(policy.model))
    assert largest
    assert max(largest) < smallest


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_its_adapters_a_policy_is_its_base(base: Path, dtype: Dtype) -> None:
    """The logits are the base's, bit for bit, and the two are never in memory together."""
    wanted = load_policy(base, dtype=dtype)
    policy = load_policy(chain_of_two(base), dtype=dtype)
    before = policy.model
    found = base_in_place_of(policy, base)
    assert found.folder == base
    assert torch.equal(logits(found.model, found.processor), logits(wanted.model, wanted.processor))
    if dtype == "bfloat16":
        assert found.model is before
    else:
        assert sum(weight.numel() for weight in before.parameters()) == 0
    assert base_in_place_of(wanted, base) is wanted


def test_the_next_adapter_goes_on_top(base: Path) -> None:
    """PEFT's adapter covers the same layers; switched off, the chain below it is left, and not the base."""
    policy = load_policy(chain_of_two(base), dtype="bfloat16")
    below = logits(policy.model, policy.processor)
    pattern = language_layers(policy.model)
    assert pattern == language_layers(load_policy(base).model)
    adapted: Any = get_peft_model(policy.model, LoraConfig(r=4, target_modules=pattern))
    for name, weight in adapted.named_parameters():
        assert weight.requires_grad == ("lora_" in name)
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.05)
    assert not torch.allclose(logits(adapted, policy.processor), below, atol=1e-2)
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted, policy.processor), below)


def test_an_adapter_of_another_layer_is_refused(base: Path) -> None:
    """In 16 bits adapters are those of linear layers; another one is named."""
    model = nn.ModuleDict({"words": nn.Embedding(4, 4)})
    update = Update(torch.zeros(1, 4), torch.zeros(4, 1), 1.0)
    with pytest.raises(UserError, match="here: words: got Embedding, expected adapters of linear layers"):
        stack(model, [{"words": update}], place="here", do="dvc repro")
    with new_chain(Path("policies/1"), previous=base, name="1") as folder:
        policy = load_policy(base)
        write_adapter(policy.model, folder, seed=1)
    assert not stacked_layers(load_policy(Path("policies/1")).model)
