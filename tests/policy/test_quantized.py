"""4-bit weights on the CPU, with bitsandbytes where it is installed: loaded, trained on, stacked, and switched off."""

from pathlib import Path

import pytest
import torch
from torch import nn

from csrdata.policy.loading import base_in_place_of, load_policy, new_chain
from csrdata.policy.stacked import stacked_layers
from csrdata.policy.training import train
from csrdata.storage.disk import hash_path
from tests.objectives import DPO, TINY
from tests.policy.pairs import WHOLE, token_logprobs, written
from tests.tiny import pictures, tiny_llava

pytest.importorskip("bitsandbytes")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy and images."""
    monkeypatch.chdir(tmp_path)
    pictures(Path("images"), len(WHOLE))
    return tiny_llava(Path("policies/base"))


def trained(to: Path, previous: Path) -> None:
    """Train a policy on pairs that the policy before it wrote, both in 4 bits."""
    pairs = written(load_policy(previous, dtype="nf4"), WHOLE)
    policy = load_policy(previous, dtype="nf4")
    with new_chain(to, previous=previous, name=to.name) as adapter:
        report = train(
            policy,
            pairs,
            root=Path(),
            adapter_folder=adapter,
            **DPO,
            **TINY,
            learning_rate=1e-2,
            epochs=4,
            batch_size=2,
        )
    assert report.references_checked == len(pairs)
    assert report.steps[-1].loss < report.steps[0].loss


def test_the_language_model_alone_is_quantized(base: Path) -> None:
    """Its linear layers hold half a byte per weight, near the weights in 16 bits; tower, projector and output have 16 bits."""
    policy, plain = load_policy(base, dtype="nf4"), load_policy(base, dtype="bfloat16")
    assert policy.model.dtype == torch.bfloat16
    inside = {id(one) for one in policy.model.get_decoder().modules()}  # type: ignore[no-untyped-call]
    for name, layer in policy.model.named_modules():
        if isinstance(layer, nn.Linear):
            wanted = torch.uint8 if id(layer) in inside else torch.bfloat16
            assert layer.weight.dtype == wanted, name
            old = plain.model.get_submodule(name).weight
            assert layer.weight.nbytes == (old.numel() // 2 if id(layer) in inside else old.nbytes)
    (pair,) = written(plain, WHOLE[:1])
    found, exact = (token_logprobs(one, pair, "chosen").sum() for one in (policy, plain))
    assert found != exact
    assert float(found) == pytest.approx(float(exact), rel=0.1)


def test_a_chain_in_4_bits_trains_and_is_switched_off(base: Path) -> None:
    """Two iterations train, each against the 4-bit policy that wrote its pairs; without its adapters it is the base."""
    trained(Path("policies/1"), base)
    first = hash_path(Path("policies/1"))
    trained(Path("policies/1"), base)
    assert hash_path(Path("policies/1")) == first
    trained(Path("policies/2"), Path("policies/1"))
    policy, plain = load_policy(Path("policies/2"), dtype="nf4"), load_policy(base, dtype="nf4")
    assert len(stacked_layers(policy.model)) == 2 * 7
    (pair,) = written(plain, WHOLE[:1])
    wanted = token_logprobs(plain, pair, "chosen")
    assert not torch.equal(token_logprobs(policy, pair, "chosen"), wanted)
    assert torch.equal(token_logprobs(base_in_place_of(policy, base), pair, "chosen"), wanted)
