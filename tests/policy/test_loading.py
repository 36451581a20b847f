"""Loading: a chain of adapters is the model that it says, and a folder that is none is named."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from csrdata.errors import UserError
from csrdata.policy.loading import load_policy, new_chain
from csrdata.policy.prompting import encode, render
from csrdata.policy.training import language_layers
from csrdata.tables import hash_path
from tests.tiny import FAMILIES, picture


@pytest.fixture(params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy of each family."""
    monkeypatch.chdir(tmp_path)
    return FAMILIES[request.param](Path("policies/base"))


def write_adapter(model: PreTrainedModel, folder: Path, *, seed: int, size: float = 0.05) -> None:
    """Save a LoRA adapter with random weights in both of its matrices, so that it changes the model."""
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=language_layers(model)))
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=size)
    adapted.save_pretrained(str(folder))


def chain_of_two(base: Path) -> Path:
    """Make policies 1 and 2 on a base and return policy 2's folder."""
    previous = base
    for name in ("1", "2"):
        with new_chain(Path("policies") / name, previous=previous, name=name) as folder:
            write_adapter(load_policy(previous).model, folder, seed=int(name))
        previous = Path("policies") / name
    return previous


def _fail(folder: Path) -> None:
    (folder / "half").write_text("")
    raise RuntimeError("power cut")


def logits(model: PreTrainedModel, processor: object) -> torch.Tensor:
    """Return a model's logits for one fixed image and prompt, in float32."""
    inputs = encode(processor, [picture(3)], [render(processor, "Describe the image.")])  # type: ignore[arg-type]
    with torch.inference_mode():
        return model(**inputs).logits.float()


def test_merged_equals_stacked(base: Path) -> None:
    """A loaded chain gives the logits of its adapters stacked on the base, in float32, and not the base's."""
    policy = load_policy(chain_of_two(base))
    plain = load_policy(base).model
    stacked = PeftModel.from_pretrained(plain, "policies/2/adapters/1", adapter_name="one")
    stacked.load_adapter("policies/2/adapters/2", adapter_name="two")
    stacked.base_model.set_adapter(["one", "two"])
    merged = logits(policy.model, policy.processor)
    assert torch.allclose(merged, logits(stacked, policy.processor), atol=1e-4)
    with stacked.disable_adapter():
        assert not torch.allclose(merged, logits(stacked, policy.processor), atol=1e-2)


def test_merging_comes_before_casting(base: Path) -> None:
    """In bfloat16 the weights are the float32 merge, rounded once: two updates too small to survive alone add up."""
    folder = chain_of_two(base)
    exact, cast = load_policy(folder), load_policy(folder, dtype="bfloat16")
    for (name, weight), rounded in zip(exact.model.named_parameters(), cast.model.parameters(), strict=True):
        assert rounded.dtype == torch.bfloat16
        assert torch.equal(weight.to(torch.bfloat16), rounded), name


def test_a_loaded_chain_is_a_plain_model(base: Path) -> None:
    """No trace of PEFT is left, so that the next adapter starts afresh."""
    policy = load_policy(chain_of_two(base))
    assert type(policy.model) is type(load_policy(base).model)
    assert not hasattr(policy.model, "peft_config")
    assert not getattr(policy.model, "_hf_peft_config_loaded", False)
    assert not [name for name, _ in policy.model.named_parameters() if "lora" in name]
    assert not policy.model.training


def test_a_chain_says_all(base: Path) -> None:
    """A policy's folder holds every adapter since the base, by names relative to the project, and no card."""
    folder = chain_of_two(base)
    assert json.loads((folder / "chain.json").read_text()) == {
        "base": "policies/base",
        "adapters": ["adapters/1", "adapters/2"],
    }
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    weights = [
        f"adapters/{name}/adapter_{part}" for name in "12" for part in ("config.json", "model.safetensors")
    ]
    assert files == [*weights, "chain.json", "sha256.json"]
    configs = [json.loads((folder / f"adapters/{name}/adapter_config.json").read_text()) for name in "12"]
    assert {config["base_model_name_or_path"] for config in configs} == {"policies/base"}


def test_a_chain_is_written_whole_or_not_at_all(base: Path) -> None:
    """An error while the adapter is written leaves the older policy as it was, and nothing beside it."""
    chain_of_two(base)
    before = hash_path(Path("policies"))
    with (
        pytest.raises(RuntimeError, match="power cut"),
        new_chain(Path("policies/2"), previous=base, name="2") as folder,
    ):
        _fail(folder)
    assert hash_path(Path("policies")) == before


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """A missing folder, and one without a model, are named with the next command."""
    with pytest.raises(UserError, match=r"nowhere: got no such folder, expected a policy.* Next: dvc repro"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"got no config.json in it"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ('{"base": "policies/gone", "adapters": []}', r"chain.json: base policies/gone: got no such folder"),
        (
            '{"base": "policies/base"}',
            r'chain.json: got .* expected a "base" folder and a list of "adapters"',
        ),
        ('{"base": "policies/base", "adapters": ["../1"]}', r'expected a "base" folder'),
        ('{"base": "policies/base", "adapters": ["adapters/9"]}', r"adapters/9: got no adapter_config.json"),
        ('{"base": ', r"chain.json: got line 1: .*, expected JSON"),
    ],
)
@pytest.mark.usefixtures("base")
def test_a_broken_chain(chain: str, words: str) -> None:
    """A chain that names what is not there says which part."""
    folder = Path("policies/1")
    folder.mkdir()
    (folder / "chain.json").write_text(chain)
    with pytest.raises(UserError, match=words):
        load_policy(folder)


@pytest.mark.parametrize(
    "content", ["no JSON", "{}", '{"model_type": "unheard-of"}', '{"model_type": "gpt2"}']
)
def test_an_unreadable_model(base: Path, content: str) -> None:
    """A config that is no JSON or no image-text-to-text model is one line, not a traceback."""
    (base / "config.json").write_text(content)
    (base / "processor_config.json").unlink()
    with pytest.raises(UserError, match=r"policies/base: .*expected an image-text-to-text model") as caught:
        load_policy(base)
    assert "\n" not in str(caught.value)
