"""Scorers by name, of the Hub, SigLIP's kind, and several as one."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.pretrained import _PRETRAINED
from PIL import Image
from safetensors.torch import save_file

from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.pinning import pin_scorer
from csrdata.pipeline.scorers import open_scorer
from csrdata.relevance.base import Relevance
from csrdata.relevance.elsewhere import by_name, files_of_scorer
from csrdata.relevance.ensemble import Ensemble
from csrdata.relevance.open_clip import load_open_clip
from tests.extending.word_scorer import WordScorer
from tests.pipeline.world import small_params
from tests.publishing.hub_server import serve
from tests.publishing.hub_state import Hub
from tests.publishing.model_repos import upload, use_hub
from tests.relevance.test_open_clip import images
from tests.tiny import byte_tokenizer

CONTEXT = 16


def save_tiny_siglip(folder: Path, *, with_config: bool = True) -> dict[str, Any]:
    """Save a SigLIP of open_clip's shape with a tokenizer that pads with its end mark, as SigLIP's own does."""
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    config: dict[str, Any] = {
        "embed_dim": 16,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 512,
            "hf_tokenizer_name": "elsewhere/tokenizer",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 16,
            "heads": 2,
            "layers": 1,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-06},
        },
    }
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**{key: value for key, value in config.items() if key != "custom_text"})
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    if with_config:
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return config


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub, and an empty project as the present folder."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with serve(tmp_path / "hub", lfs_from=10_000) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def test_siglip_is_a_scorer(tmp_path: Path) -> None:
    """R_I is 100 times the cosine here too: the bias and the scale of its sigmoid loss play no part."""
    save_tiny_siglip(tmp_path)
    scorer = load_open_clip(tmp_path)
    texts = ["a red circle", "two dogs"]
    with torch.inference_mode():
        image = scorer.model.encode_image(torch.stack([scorer.preprocess(one) for one in images(2)]))
        text = scorer.model.encode_text(scorer.tokenizer(texts, context_length=CONTEXT))
    cosines = torch.nn.functional.cosine_similarity(image, text).tolist()
    scores = [score for score, _ in scorer.open(images(2)).relevance([0, 1], texts)]
    assert scores == pytest.approx([max(100 * cosine, 0) for cosine in cosines], abs=1e-4)


def test_siglip_reports_a_cut_text(tmp_path: Path) -> None:
    """A text of exactly the limit fits and one token more does not, though the tokenizer pads with its end mark."""
    save_tiny_siglip(tmp_path)
    scorer = load_open_clip(tmp_path)
    inner: Any = scorer.tokenizer
    words = [f"{'x' * count}" for count in range(1, 3 * CONTEXT)]
    lengths = [len(inner.tokenizer(word).input_ids) for word in words]
    assert {CONTEXT, CONTEXT + 1} <= set(lengths)
    cut = [is_cut for _, is_cut in scorer.open(images(1)).relevance([0] * len(words), words)]
    assert cut == [length > CONTEXT for length in lengths]


def test_a_name_and_a_tag_of_open_clip(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration is open_clip's, the weights and the tokenizer are of the repository that the tag names."""
    model = tmp_path / "model"
    model.mkdir()
    config = save_tiny_siglip(model, with_config=False)
    commit = upload(hub, "them/tiny-siglip", model)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-SigLIP", config)
    weights = {"webli": {"hf_hub": "them/tiny-siglip/", "mean": (0.5,) * 3, "std": (0.5,) * 3}}
    monkeypatch.setitem(_PRETRAINED, "Tiny-SigLIP", weights)
    raw = small_params().model_dump()
    raw["scorers"]["search"] = {"kind": "open_clip_name", "name": "Tiny-SigLIP", "tag": "webli"}
    params = Params.model_validate(raw)
    (record,) = pin_scorer(params, "search")
    assert (record.id, record.revision) == ("them/tiny-siglip", commit)
    assert set(record.files) >= {"open_clip_model.safetensors", "tokenizer.json"}
    kept = sorted(path.name for path in Path("scorers/search").iterdir())
    assert kept == ["open_clip_config.json", "scorer.json", "sha256.json"]
    (model / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    found, wanted = open_scorer(params, "search", device="cpu", policy="base"), load_open_clip(model)
    assert found.open(images(1)).relevance([0], ["a"]) == wanted.open(images(1)).relevance([0], ["a"])


@pytest.mark.parametrize(
    ("name", "tag", "words"),
    [
        (
            "ViT-L-14-336",
            "openai",
            "scorers.search.name: got ViT-L-14-336 with the weights openai, trained with another activation, expected "
            "ViT-L-14-336-quickgelu. Next: mend params.yaml, then: dvc repro",
        ),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "expected one of"),
        ("ViT-L-14-335", "openai", "scorers.search.name: got ViT-L-14-335, expected ViT-L-14-336"),
        ("ViT-B-32", "nobody", "scorers.search.tag: got nobody, expected one of openai"),
        ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k", "which has a text tower of transformers"),
        ("coca_ViT-B-32", "laion2b_s13b_b90k", "which has a caption decoder, expected a dual encoder"),
    ],
)
def test_names_that_do_not_score_are_refused(name: str, tag: str, words: str) -> None:
    """What open_clip only warns of, and what is no dual encoder, is one line."""
    with pytest.raises(UserError) as caught:
        by_name(name, tag, place="scorers.search")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("ViT-L-14-336-quickgelu", "openai"),
        ("ViT-B-16-SigLIP", "webli"),
        ("ViT-B-16-SigLIP2", "webli"),
        ("ViT-H-14", "laion2b_s32b_b79k"),
    ],
)
def test_names_that_score_pass_the_allow_list(name: str, tag: str, tmp_path: Path) -> None:
    """The configurations of CLIP, SigLIP and SigLIP 2 are accepted as open_clip has them."""
    from csrdata.relevance.config import read_config

    found = by_name(name, tag, place="scorers.search")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(found.config))
    assert read_config(tmp_path, do="").model_cfg.embed_dim >= 512
    assert found.repo_id.count("/") == 1


def test_a_repository_without_safetensors_is_refused() -> None:
    """Weights that can run code are not downloaded."""
    with pytest.raises(UserError, match=r"got only open_clip_pytorch_model.bin, a pickle"):
        files_of_scorer(["open_clip_config.json", "open_clip_pytorch_model.bin"], "hub a/b", named=False)
    with pytest.raises(UserError, match=r"hub a/b: got no open_clip_config.json"):
        files_of_scorer(["open_clip_model.safetensors"], "hub a/b", named=False)


def test_a_scorer_without_its_tokenizer_is_refused(hub: Hub, tmp_path: Path) -> None:
    """A configuration that names a tokenizer needs one next to the weights."""
    model = tmp_path / "model"
    model.mkdir()
    save_tiny_siglip(model)
    (model / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer.json: got no such file, expected the scorer's tokenizer"):
        load_open_clip(model)


def test_an_ensemble_is_the_weighted_mean() -> None:
    """Weights are shares; a text that one member does not read whole is truncated."""
    one, other = WordScorer(frozenset({"red", "star"})), WordScorer(frozenset({"red"}), longest=2)
    scores = Ensemble([(3.0, one), (1.0, other)]).open([Image.new("RGB", (4, 4))])
    assert scores.relevance([0, 0], ["red", "a blue star"]) == [Relevance(62.5, False), Relevance(37.5, True)]
    assert scores.repetition(["a b", "c"], [["a b"], []]) == [1.0, 0.0]
    assert scores.relevance([], []) == []


class Silent(WordScorer):
    """A member that says nothing of any text."""

    def open(self, images: Sequence[Image.Image]) -> "Silent":  # type: ignore[override]
        return self

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        return [Relevance(None, truncated=False) for _ in texts]


def test_a_silent_member_is_left_out_of_the_mean() -> None:
    """The others' weights are shares of what is left; if no member says anything, neither does the ensemble."""
    one, other = WordScorer(frozenset({"red", "star"})), WordScorer(frozenset({"red"}))
    silent = Silent(frozenset({"red"}))
    image = [Image.new("RGB", (4, 4))]
    mixed = Ensemble([(3.0, one), (4.0, silent), (1.0, other)]).open(image)
    assert mixed.relevance([0], ["red"])[0].value == pytest.approx(62.5)
    assert Ensemble([(1.0, silent), (1.0, silent)]).open(image).relevance([0], ["red"])[0].value is None
