"""The open_clip scorer on a tiny random CLIP, saved and loaded like a real one."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from csrdata.errors import UserError
from csrdata.relevance import open_clip as clip
from csrdata.relevance.open_clip import OpenClipScorer, OpenClipScores, load_open_clip

CONTEXT = 12
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def save_tiny_clip(folder: Path, *, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model = open_clip.CLIP(**CONFIG)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    config = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> OpenClipScorer:
    folder = tmp_path_factory.mktemp("scorer")
    save_tiny_clip(folder)
    return load_open_clip(folder)


def images(count: int) -> list[Image.Image]:
    return [
        Image.new("RGB", (28, 28), (40 * index % 256, 10, 200 - 30 * index % 200)) for index in range(count)
    ]


def test_relevance_is_equation_3(scorer: OpenClipScorer) -> None:
    """R_I is 100 times the cosine of the two embeddings, and never below 0."""
    pictures, texts = images(4), ["a red circle", "a blue star", "nothing", "two dogs."]
    with torch.inference_mode():
        pixels = torch.stack([scorer.preprocess(picture) for picture in pictures])
        image = scorer.model.encode_image(pixels)
        text = scorer.model.encode_text(scorer.tokenizer(texts, context_length=CONTEXT))
    cosines = torch.nn.functional.cosine_similarity(image, text).tolist()
    scores = [score for score, _ in scorer.open(pictures).relevance(range(4), texts)]
    assert scores == pytest.approx([max(100 * cosine, 0) for cosine in cosines], abs=1e-4)
    opposite = OpenClipScores(scorer, -scorer.embed_images(pictures)).relevance(range(4), texts)
    assert all((score > 0) != (other > 0) for score, (other, _) in zip(scores, opposite, strict=True))


def test_the_model_is_ready_to_score(scorer: OpenClipScorer) -> None:
    """It is in eval mode, float32, and its embeddings have length 1."""
    assert not scorer.model.training
    embeddings = torch.cat([scorer.embed_images(images(3)), scorer.embed_texts(["a", "b"])])
    assert embeddings.dtype == torch.float32
    assert embeddings.norm(dim=-1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)


def test_a_cut_text_is_reported(scorer: OpenClipScorer) -> None:
    """A text at the limit fits; with one more token it is cut, its beginning is scored, and `truncated` is True."""
    fits, over = " ".join(["dog"] * (CONTEXT - 2)), " ".join(["dog"] * (CONTEXT - 1))
    (short, short_cut), (full, full_cut), (cut, is_cut) = scorer.open(images(1)).relevance(
        [0, 0, 0], ["dog", fits, over]
    )
    assert (short_cut, full_cut, is_cut) == (False, False, True)
    assert cut == pytest.approx(full, abs=1e-4)
    assert short != pytest.approx(full, abs=1e-4)


def test_white_space_around_a_text_does_not_count(scorer: OpenClipScorer) -> None:
    """White space around a text is ignored: a sentence inside an answer starts with a space."""
    plain, padded = scorer.embed_texts(["a red circle.", "  a red circle.\n"])
    assert torch.equal(plain, padded)


def test_equal_texts_are_embedded_once(scorer: OpenClipScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text encoder receives each distinct text of a call once, in chunks."""
    seen: list[int] = []
    encode: Callable[..., torch.Tensor] = scorer.model.encode_text

    def counting(tokens: torch.Tensor, **options: bool) -> torch.Tensor:
        seen.append(len(tokens))
        return encode(tokens, **options)

    monkeypatch.setattr(scorer.model, "encode_text", counting)
    monkeypatch.setattr(clip, "CHUNK", 2)
    embeddings = scorer.embed_texts(["a", "b", "a", "c", "b "])
    assert seen == [2, 1]
    assert torch.equal(embeddings[0], embeddings[2])
    assert torch.equal(embeddings[1], embeddings[4])


def test_slots_behind_every_text_are_left_out(
    scorer: OpenClipScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A causal encoder computes only the slots of the longest text; the result is that of the full length."""
    texts = ["a dog", "a red circle and two blue stars", "no"]
    full = scorer.model.encode_text(scorer.tokenizer(texts, context_length=CONTEXT), normalize=True)
    lengths: list[int] = []
    encode: Callable[..., torch.Tensor] = scorer.model.encode_text

    def measuring(tokens: torch.Tensor, **options: bool) -> torch.Tensor:
        lengths.append(tokens.shape[1])
        return encode(tokens, **options)

    monkeypatch.setattr(scorer.model, "encode_text", measuring)
    assert torch.allclose(scorer.embed_texts(texts), full, atol=1e-6)
    monkeypatch.setattr(
        scorer.model, "text_pool_type", "last"
    )  # the output is at the last slot: all slots are needed
    scorer.embed_texts(texts)
    assert lengths == [9, CONTEXT]


def test_chunks_change_no_more_than_the_last_bits(
    scorer: OpenClipScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another chunk size gives the same embeddings within rounding; the same call gives the same bits."""
    texts = [f"a picture of {count} dogs" for count in range(7)]
    whole = scorer.embed_texts(texts)
    assert torch.equal(whole, scorer.embed_texts(texts))
    monkeypatch.setattr(clip, "CHUNK", 3)
    assert torch.allclose(whole, scorer.embed_texts(texts), atol=1e-5)
    assert torch.allclose(
        scorer.embed_images(images(5)), torch.cat([scorer.embed_images([i]) for i in images(5)]), atol=1e-5
    )


def test_repetition_is_the_closest_earlier_text(scorer: OpenClipScorer) -> None:
    """No earlier text: 0; the same text: 1; else the largest cosine; known texts are not embedded again."""
    scores = scorer.open([])
    first, same, other = scores.repetition(
        ["a dog", "a dog", "a dog"], [(), ("a cat", " a dog "), ("a cat", "two dogs")]
    )
    assert (first, same) == (0.0, pytest.approx(1.0, abs=1e-5))
    embeddings = scorer.embed_texts(["a dog", "a cat", "two dogs"])
    assert other == pytest.approx(float((embeddings[1:] @ embeddings[0]).clamp(0, 1).max()), abs=1e-5)
    assert set(scores.known) == {"a dog", "a cat", "two dogs"}


def test_no_rows_give_no_scores(scorer: OpenClipScorer) -> None:
    """A call without texts gives no scores and does not fail."""
    assert scorer.embed_images([]).shape == scorer.embed_texts([]).shape == (0, 16)
    assert scorer.open([]).relevance([], []) == []


def test_a_folder_that_is_no_scorer_is_refused(tmp_path: Path) -> None:
    """The error for a folder that is not a scorer names the folder, the fault and the next command."""
    with pytest.raises(
        UserError, match=r"nowhere: got no open_clip_config.json in it, .* Next: dvc repro prepare"
    ):
        load_open_clip(tmp_path / "nowhere")
