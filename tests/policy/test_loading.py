"""Loading: a chain gives the model of its base and adapters, and an invalid folder is one line that names it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from csrdata.errors import UserError
from csrdata.policy.adapter import merge
from csrdata.policy.loading import load_policy, new_chain
from csrdata.policy.prompting import encode, render_prompt
from csrdata.policy.training import language_layers
from csrdata.storage.tables import hash_path
from tests.families import FAMILIES as EVERY_FAMILY
from tests.tiny import FAMILIES, picture

Weights = dict[str, torch.Tensor]


@pytest.fixture
def llava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy of one family."""
    monkeypatch.chdir(tmp_path)
    return FAMILIES["llava"](Path("policies/base"))


@pytest.fixture(params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a tiny base policy of each family."""
    monkeypatch.chdir(tmp_path)
    return FAMILIES[request.param](Path("policies/base"))


def write_adapter(model: PreTrainedModel, folder: Path, *, seed: int, size: float = 0.05) -> None:
    """Save a LoRA adapter with random weights in both matrices, so that it changes the model."""
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=language_layers(model)))
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=size)
    adapted.save_pretrained(str(folder))


def chain_of_two(base: Path) -> Path:
    """Write policies 1 and 2 on a base and return the folder of policy 2."""
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
    inputs = encode(processor, [picture(3)], [render_prompt(processor, "Describe the image.")])  # type: ignore[arg-type]
    with torch.inference_mode():
        return model(**inputs).logits.float()


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that needs a package says which, and what installs it."""
    from transformers.models.smolvlm import processing_smolvlm

    folder = EVERY_FAMILY["smolvlm"](tmp_path / "smolvlm")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(UserError) as caught:
        load_policy(folder)
    assert "got ImportError: Package `num2words` is required" in str(caught.value)
    assert str(caught.value).endswith("pip install 'csrdata[all]', or pip install PACKAGE")


def test_merged_equals_stacked(base: Path) -> None:
    """In float32, a loaded chain gives the logits of its adapters stacked on the base, which differ from the base's."""
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
    """In bfloat16 the weights are the float32 merge, rounded once: two updates, each too small alone, have an effect."""
    folder = chain_of_two(base)
    exact, cast = load_policy(folder), load_policy(folder, dtype="bfloat16")
    for (name, weight), rounded in zip(exact.model.named_parameters(), cast.model.parameters(), strict=True):
        assert rounded.dtype == torch.bfloat16
        assert torch.equal(weight.to(torch.bfloat16), rounded), name


def test_a_loaded_chain_is_a_plain_model(base: Path) -> None:
    """The model has no attribute of PEFT, so that the next adapter is the only one."""
    policy = load_policy(chain_of_two(base))
    assert type(policy.model) is type(load_policy(base).model)
    assert not hasattr(policy.model, "peft_config")
    assert not getattr(policy.model, "_hf_peft_config_loaded", False)
    assert not [name for name, _ in policy.model.named_parameters() if "lora" in name]
    assert not policy.model.training


def test_a_chain_says_all(base: Path) -> None:
    """A policy's folder contains every adapter since the base, names the base relative to the project, and has no card."""
    folder = chain_of_two(base)
    chain = json.loads((folder / "chain.json").read_text())
    prints = chain.pop("fingerprints")
    assert chain == {"base": "policies/base", "adapters": ["adapters/1", "adapters/2"]}
    assert set(prints) == {"base", "adapters/1", "adapters/2"}
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    weights = [
        f"adapters/{name}/adapter_{part}" for name in "12" for part in ("config.json", "model.safetensors")
    ]
    assert files == [*weights, "chain.json", "sha256.json"]
    configs = [json.loads((folder / f"adapters/{name}/adapter_config.json").read_text()) for name in "12"]
    assert {config["base_model_name_or_path"] for config in configs} == {"policies/base"}


def test_a_chain_is_written_whole_or_not_at_all(base: Path) -> None:
    """An error while the adapter is written leaves the older policy unchanged, and no other file."""
    chain_of_two(base)
    before = hash_path(Path("policies"))
    with (
        pytest.raises(RuntimeError, match="power cut"),
        new_chain(Path("policies/2"), previous=base, name="2") as folder,
    ):
        _fail(folder)
    assert hash_path(Path("policies")) == before


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """The error for a missing folder, or one without a model, names the folder and the next command."""
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
    """The error for a chain with a missing part names the part."""
    folder = Path("policies/1")
    folder.mkdir()
    (folder / "chain.json").write_text(chain)
    with pytest.raises(UserError, match=words):
        load_policy(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no JSON", r"policies/base/config.json: got line 1: .*, expected JSON"),
        ("{}", r"policies/base: .*expected an image-text-to-text model"),
        ('{"model_type": "unheard-of"}', r"policies/base: .*expected an image-text-to-text model"),
        ('{"model_type": "gpt2"}', r"policies/base: .*expected an image-text-to-text model"),
    ],
)
def test_an_unreadable_model(base: Path, content: str, words: str) -> None:
    """A config that is not JSON, or of another kind of model, gives one line, not a traceback."""
    (base / "config.json").write_text(content)
    (base / "processor_config.json").unlink()
    with pytest.raises(UserError, match=words) as caught:
        load_policy(base)
    assert "\n" not in str(caught.value)


def edit(path: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}), encoding="utf-8")


def refusal(load: Callable[[], object]) -> str:
    """Return the error line for a policy."""
    with pytest.raises(UserError) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line
    assert line.endswith("Next: dvc repro")
    return line


HEAD = "lm_head.weight"
"""A tensor's name in the model."""
FILED = "language_model.lm_head.weight"
"""Its name in the file, where transformers keeps the names of older releases."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop(FILED), f"policies/base: {HEAD}: got no such tensor, expected the weights of Llava"),
        (lambda weights: weights.update(stray=torch.zeros(2)), "policies/base: stray: got a tensor that LlavaForConditionalGeneration lacks"),
        (lambda weights: weights.update({FILED: torch.zeros(3, 64)}), f"policies/base: {HEAD}: got shape [3, 64], expected ["),
        (lambda weights: weights[FILED].fill_(torch.nan), f"policies/base: {HEAD}: got NaN or infinity, expected finite weights"),
        (lambda weights: (weights.clear(), weights.update(foreign=torch.zeros(1))), "got no such tensor, expected the weights of Llava"),
    ],
)  # fmt: skip
def test_weights_of_another_model(llava: Path, change: Callable[[Weights], object], words: str) -> None:
    """The error names a tensor that is missing, unknown, of another shape or not finite; no model has random weights."""
    edit(llava / "model.safetensors", change)
    assert words in refusal(lambda: load_policy(llava))


@pytest.mark.parametrize("keep", [0, 4, 300, 50_000])
def test_damaged_weights(llava: Path, keep: int) -> None:
    """An empty or cut file, and one of another format, gives one line."""
    path = llava / "model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:keep], b"\x80\x02" * keep):
        path.write_bytes(damaged)
        line = refusal(lambda: load_policy(llava))
        assert line.startswith("policies/base/model.safetensors: got ")
        assert "expected a whole safetensors file" in line


class _Proof:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_pickles_are_refused_and_not_opened(llava: Path) -> None:
    """The error for a base or an adapter without safetensors names the pickle, which is not opened."""
    chain_of_two(llava)
    adapter = Path("policies/2/adapters/1")
    for folder, name in ((llava, "pytorch_model.bin"), (adapter, "adapter_model.bin")):
        next(folder.glob("*.safetensors")).unlink()
        (folder / name).write_bytes(pickle.dumps(_Proof(Path("it-ran"))))
        load = (
            (lambda: load_policy(llava)) if folder == llava else (lambda: merge(torch.nn.Module(), adapter))
        )  # type: ignore[arg-type]
        assert f"got {name}, a pickle, which can run code when it is read" in refusal(load)
    assert not Path("it-ran").exists()


def test_sharded_weights(llava: Path) -> None:
    """Weights in several files load as one; an index with a missing file, or one outside the folder, is refused."""
    whole = load_policy(llava).model
    (llava / "model.safetensors").unlink()
    whole.save_pretrained(llava, max_shard_size="100KB")
    index = llava / "model.safetensors.index.json"
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
    for one, other in zip(whole.parameters(), load_policy(llava).model.parameters(), strict=True):
        assert torch.equal(one, other)
    for content, words in (
        ('{"weight_map": {"a": "../a.safetensors"}}', "got ['../a.safetensors'], expected a \"weight_map\""),
        (
            '{"weight_map": {"a": "b.safetensors"}}',
            "b.safetensors: got no such file, expected a file that the index lists",
        ),
        ("{", "got a malformed index"),
    ):
        index.write_text(content)
        assert words in refusal(lambda: load_policy(llava))


def test_a_folder_with_code_runs_nothing(llava: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code named by `auto_map` in any configuration does not run, and the terminal is not asked."""
    (llava / "code.py").write_text("open('it-ran', 'w').close()\nclass Mine: pass\n")
    names = (
        "AutoConfig",
        "AutoModelForImageTextToText",
        "AutoProcessor",
        "AutoTokenizer",
        "AutoImageProcessor",
    )
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        edit_json(llava / file, auto_map=dict.fromkeys(names, "code.Mine"))
    assert load_policy(llava).model.config.model_type == "llava"
    edit_json(llava / "config.json", model_type="unheard-of")
    refusal(lambda: load_policy(llava))
    assert not Path("it-ran").exists()
    assert "[y/N]" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"attn_implementation": "someone/kernel"}, "config.json: attn_implementation: got 'someone/kernel'"),
        (
            {"text_config": {"_attn_implementation": "a/b"}},
            "config.json: text_config._attn_implementation: got 'a/b'",
        ),
        (
            {"transformers_weights": "other.safetensors"},
            "config.json: transformers_weights: got 'other.safetensors'",
        ),
    ],
)
def test_a_configuration_that_leads_elsewhere(llava: Path, values: dict[str, object], words: str) -> None:
    """Kernels from the Hub and other weight files are refused; the error names the key."""
    edit_json(llava / "config.json", **values)
    assert words in refusal(lambda: load_policy(llava))


def test_an_adapter_in_a_models_folder(llava: Path) -> None:
    """An adapter in a model folder is refused: transformers would load it, or the base that it names."""
    (llava / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    assert "policies/base: got adapter_config.json, expected a model folder without an adapter" in refusal(
        lambda: load_policy(llava)
    )


@pytest.fixture
def adapter(llava: Path) -> Path:
    """An adapter of the base."""
    write_adapter(load_policy(llava).model, Path("adapter"), seed=1)
    return Path("adapter")


A = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop(A), f"{A}: got no such tensor, expected shape [4, 64]"),
        (lambda weights: weights.update({"base_model.model.other.lora_A.weight": torch.zeros(4, 4)}), "base_model.model.other.lora_A.weight: got shape [4, 4], expected no such tensor"),
        (lambda weights: weights.update({A: torch.zeros(8, 64)}), "size mismatch for base_model"),
        (lambda weights: weights[A].fill_(torch.inf), f"{A}: got NaN or infinity"),
        (lambda weights: (weights.clear(), weights.update(foreign=torch.zeros(1))), "adapter: base_model"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_fit(
    llava: Path, adapter: Path, change: Callable[[Weights], object], words: str
) -> None:
    """A missing, unknown or misshapen tensor of an adapter is an error that names it, not a warning."""
    edit(adapter / "adapter_model.safetensors", change)
    model = load_policy(llava).model
    assert words in refusal(lambda: merge(model, adapter))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peft_type": "UNHEARD_OF"}, "adapter_config.json: peft_type: got 'UNHEARD_OF', expected a plain LoRA adapter"),
        ({"peft_type": "VERA", "vera_dropout": 0.1}, "peft_type: got 'VERA', expected a plain LoRA adapter"),
        ({"peft_type": None}, "peft_type: got None"),
        ({"megatron_config": {"a": 1}, "megatron_core": "code"}, "megatron"),
        ({"megatron_core": "code"}, "megatron_core: got 'code'"),
        ({"auto_mapping": {"base_model_class": "Mine", "parent_library": "code"}}, "auto_mapping: got"),
        ({"trust_remote_code": True}, "trust_remote_code: got True, expected a plain LoRA adapter, without this option"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: got 'pissa'"),
        ({"use_dora": True}, "use_dora: got True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: got ['lm_head']"),
        ({"bias": "all"}, "bias: got 'all'"),
        ({"r": "4"}, "r: got '4'"),
        ({"lora_alpha": float("nan")}, "lora_alpha: got nan"),
        ({"target_modules": ["nowhere"]}, "expected an adapter of this model"),
    ],
)  # fmt: skip
def test_only_a_plain_lora_is_merged(
    llava: Path, adapter: Path, values: dict[str, object], words: str
) -> None:
    """Another kind of adapter, and an option that imports code or changes the base, is refused; the error names the key."""
    Path("code.py").write_text("open('it-ran', 'w').close()\n")
    edit_json(adapter / "adapter_config.json", **values)
    model = load_policy(llava).model
    assert words in refusal(lambda: merge(model, adapter))
    assert not Path("it-ran").exists()


def test_an_adapter_of_another_base(llava: Path) -> None:
    """A chain with another base of the same shape, or another adapter, than it was trained with is refused."""
    folder = chain_of_two(llava)
    chain = json.loads((folder / "chain.json").read_text())
    FAMILIES["llava"](llava, seed=1)
    line = refusal(lambda: load_policy(folder))
    assert (
        "policies/2/chain.json: base: got other weights in policies/base, expected what this policy was"
        in line
    )
    FAMILIES["llava"](llava, seed=0)
    load_policy(folder)
    write_adapter(load_policy(llava).model, folder / "adapters/1", seed=9)
    line = refusal(lambda: load_policy(folder))
    assert "chain.json: adapters/1: got another adapter in policies/2/adapters/1" in line
    del chain["fingerprints"]["adapters/1"]
    (folder / "chain.json").write_text(json.dumps(chain))
    assert "chain.json: adapters/1: got no fingerprint, expected" in refusal(lambda: load_policy(folder))


def test_a_cast_that_overflows(llava: Path) -> None:
    """Weights that overflow in half precision are refused, in a model and in a merged chain."""
    edit(llava / "model.safetensors", lambda weights: weights[FILED].fill_(1e6))
    folder = chain_of_two(llava)
    load_policy(folder)
    assert f"policies/base: {HEAD}: got NaN" in refusal(lambda: load_policy(llava, dtype="float16"))
    assert f"policies/2 as float16: {HEAD}: got NaN" in refusal(lambda: load_policy(folder, dtype="float16"))
