"""A scorer's folder is untrusted: no code in it runs, and weights of another model are refused in one line."""

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from csrdata.errors import UserError
from csrdata.relevance.config import read_config
from csrdata.relevance.open_clip import load_open_clip
from tests.relevance.test_open_clip import CONFIG, PREPROCESS, save_tiny_clip
from tests.tiny import byte_tokenizer

DO = "dvc repro prepare"
SHIPPED = Path(open_clip.__file__).parent / "model_configs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny scorer."""
    folder = tmp_path / "scorer"
    folder.mkdir()
    save_tiny_clip(folder)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Change keys of the configuration, by dotted names with `__` for the dot."""
    config = {"model_cfg": json.loads(json.dumps(CONFIG)), "preprocess_cfg": dict(PREPROCESS)}
    for name, value in changes.items():
        *where, last = name.split("__")
        section: dict[str, Any] = config
        for part in where:
            section = section.setdefault(part, {})
        section[last] = value
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")


def refusal(folder: Path) -> str:
    """Return the error line for a scorer."""
    with warnings.catch_warnings(), pytest.raises(UserError) as caught:
        warnings.simplefilter("ignore")
        load_open_clip(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(folder))
    assert line.endswith(f"Next: {DO}")
    return line


def add_code(folder: Path) -> Path:
    """Add a tokenizer with code that transformers could load; return the file that the code would write."""
    proof = folder.parent / "it-ran"
    byte_tokenizer().save_pretrained(folder)
    (folder / "code.py").write_text(
        f"open({str(proof)!r}, 'w').close()\nclass Mine: pass\n", encoding="utf-8"
    )
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoTokenizer": ["code.Mine", "code.Mine"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "config.json").write_text(
        json.dumps({"auto_map": {"AutoConfig": "code.Mine"}}), encoding="utf-8"
    )
    return proof


def test_a_folder_that_asks_for_its_code_to_run(folder: Path) -> None:
    """`trust_remote_code` in the configuration is refused by name, and code in the folder does not run."""
    proof = add_code(folder)
    rewrite(
        folder,
        model_cfg__text_cfg__hf_tokenizer_name="any",
        model_cfg__text_cfg__tokenizer_kwargs={"trust_remote_code": True},
    )
    words = "open_clip_config.json: model_cfg.text_cfg.tokenizer_kwargs.trust_remote_code: got an unknown key with True"
    assert words in refusal(folder)
    assert not proof.exists()


def test_code_next_to_a_tokenizer_is_ignored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tokenizer with code is loaded as data, and the terminal is not asked."""
    proof = add_code(folder)
    rewrite(
        folder, model_cfg__text_cfg__hf_tokenizer_name="any", model_cfg__text_cfg__tokenizer_kwargs={"clean": "lower"}
    )  # fmt: skip
    scorer = load_open_clip(folder)
    assert scorer.embed_texts(["a red circle"]).shape == (1, 16)
    assert not proof.exists()
    assert "[y/N]" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_cfg__text_cfg__tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}, "tokenizer_kwargs.bpe_path: got an unknown key with '/etc/passwd', expected no other key than clean, strip_sep_token"),
        ({"model_cfg__text_cfg__tokenizer_kwargs": {"additional_special_tokens": ["(a+)+"]}}, "additional_special_tokens: got an unknown key"),
        ({"model_cfg__text_cfg__tokenizer_kwargs": {"reduction_mask": "syntax"}}, "reduction_mask: got an unknown key"),
        ({"model_cfg__text_cfg__hf_model_name": "some/model"}, "model_cfg.text_cfg.hf_model_name: got an unknown key with 'some/model', expected no other key than act_kwargs"),
        ({"model_cfg__vision_cfg__timm_model_name": "hf-hub:some/model"}, "vision_cfg.timm_model_name: got 'hf-hub:some/model'"),
        ({"model_cfg__multimodal_cfg": {}}, "model_cfg.multimodal_cfg: got an unknown key"),
        ({"model_cfg__vision_cfg__act_kwargs": {"inplace": True}}, "vision_cfg.act_kwargs.inplace: got an unknown key"),
        ({"model_cfg__vision_cfg__layers": 10**9}, "vision_cfg.layers: got 1000000000, expected a value less than or equal to 1000"),
        ({"model_cfg__vision_cfg__width": "32"}, "vision_cfg.width: got '32', expected a valid integer"),
        ({"model_cfg__embed_dim": None}, "model_cfg.embed_dim: got None"),
        ({"model_cfg__text_cfg__heads": 3}, "expected compatible sizes"),
        ({"preprocess_cfg__mode": "CMYK"}, "preprocess_cfg.mode: got 'CMYK', expected a value 'RGB'"),
        ({"preprocess_cfg__std": [0.5, 0.5, 0.0]}, "preprocess_cfg.std.2: got 0.0, expected a value greater than 0"),
        ({"run": "rm"}, "open_clip_config.json: run: got an unknown key with 'rm', expected no other key than model_cfg, preprocess_cfg"),
    ],
)  # fmt: skip
def test_only_listed_keys_and_values_reach_a_library(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    """A value that names code, a file, another model or a size out of range is refused; the error names the key."""
    rewrite(folder, **changes)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"model_cfg": {"embed_dim": NaN}}']
)
def test_a_configuration_that_is_none(folder: Path, content: bytes) -> None:
    """Empty, cut, too deep and malformed JSON gives one line."""
    (folder / "open_clip_config.json").write_bytes(content)
    assert "open_clip_config.json" in refusal(folder)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_open_clips_own_configurations_are_allowed(path: Path, tmp_path: Path) -> None:
    """Every configuration of open_clip is allowed, except those with a text tower of transformers or a caption decoder."""
    model = json.loads(path.read_text(encoding="utf-8"))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}), encoding="utf-8")
    if "hf_model_name" in model["text_cfg"] or "multimodal_cfg" in model:
        with pytest.raises(UserError, match="unknown key"):
            read_config(tmp_path, do=DO)
    else:
        assert read_config(tmp_path, do=DO).model_arguments()["embed_dim"] == model["embed_dim"]


class _Proof:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "model.pt"])
def test_a_pickle_is_refused_and_not_opened(folder: Path, name: str) -> None:
    """A scorer without safetensors is refused; a pickle in its folder is not opened."""
    (folder / "open_clip_model.safetensors").unlink()
    proof = folder.parent / "it-ran"
    (folder / name).write_bytes(pickle.dumps(_Proof(proof)))
    assert f"open_clip_model.safetensors: got {name}, a pickle, which can run code" in refusal(folder)
    assert not proof.exists()


def _edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "open_clip_model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("ln_final.bias"), "ln_final.bias: got no such tensor, expected shape [16]: the weights of this model"),
        (lambda weights: weights.update(stray=torch.zeros(2)), "stray: got shape [2], expected no such tensor"),
        (lambda weights: weights.update({"visual.proj": torch.zeros(32, 8)}), "visual.proj: got shape [32, 8], expected shape [32, 16]"),
        (lambda weights: weights["ln_final.bias"].fill_(torch.nan), "ln_final.bias: got NaN or infinity, expected finite weights"),
        (lambda weights: weights["logit_scale"].fill_(torch.inf), "logit_scale: got NaN or infinity"),
    ],
)  # fmt: skip
def test_weights_of_another_model(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], words: str
) -> None:
    """The error names a tensor that is missing, unknown, of another shape or not finite; no weight is random."""
    _edit(folder, change)
    assert words in refusal(folder)


def test_a_scorer_of_another_shape(folder: Path) -> None:
    """A configuration whose sizes differ from the weights is refused before memory is allocated."""
    rewrite(folder, model_cfg__text_cfg__context_length=60_000)
    assert "positional_embedding: got shape [12, 16], expected shape [60000, 16]" in refusal(folder)
    rewrite(folder, model_cfg__text_cfg__vocab_size=100)
    _edit(folder, lambda weights: weights.update({"token_embedding.weight": torch.zeros(100, 16)}))
    assert "text_cfg.vocab_size: got 100, expected at least the tokenizer's 49408" in refusal(folder)


@pytest.mark.parametrize("keep", [0, 4, 200, 100_000])
def test_damaged_weights(folder: Path, keep: int) -> None:
    """An empty or cut file, and one of another format, gives one line."""
    path = folder / "open_clip_model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:keep], b"\x80\x02" * keep):
        path.write_bytes(damaged)
        assert "open_clip_model.safetensors: got" in refusal(folder)
        assert "expected a whole safetensors file" in refusal(folder)


def test_a_name_on_the_hub_is_no_scorer() -> None:
    """A name on the Hub is refused: files are downloaded to a folder first, where they are checked."""
    with pytest.raises(
        UserError, match=r"got a name on the Hub, .* Next: hf download a/b --local-dir scorers/b"
    ):
        load_open_clip("hf-hub:a/b")
