"""Image-text relevance by CLIP: R_I of equation 3, from any dual encoder that open_clip can load.

`OpenClipScorer` implements `Scorer` (csrdata/relevance/base.py): `open` embeds the images, and its result embeds each
distinct text once.

The same calls in the same order give the same bits. The distinct texts of one call are embedded in chunks of fixed size, in
order of first appearance. In another chunk the embedding of a text can differ in its last bits, because the order of
summation in a matrix product depends on the shapes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor

from csrdata.errors import UserError
from csrdata.relevance.base import Relevance
from csrdata.relevance.config import CONFIG, ScorerConfig, read_config
from csrdata.weights import check_finite, check_shapes, read_shapes, weight_files

WEIGHTS = "open_clip_model.safetensors"
HUB = "hf-hub:"
"""open_clip's prefix for the name of a model on the Hugging Face Hub."""
DO = "dvc repro prepare"
CHUNK = 256
"""Number of texts or images per forward pass of an encoder."""

Known = dict[str, tuple[Tensor, bool]]
"""Texts that are already embedded: for each its embedding [D], and whether it was cut at the scorer's text limit."""


@dataclass(frozen=True)
class OpenClipScorer:
    """An open_clip model in eval mode and float32, with its preprocessing and tokenizer."""

    model: Any
    preprocess: Callable[[Image], Tensor]
    tokenizer: Callable[..., Tensor]
    context_length: int
    """The text limit, in tokens, including start and end marks (77 for CLIP)."""
    device: str

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return the embeddings of N images, [N, D], normalised to length 1."""
        if not images:
            return self._no_rows()
        pixels = torch.stack([self.preprocess(image.convert("RGB")) for image in images])
        chunks = [
            self.model.encode_image(chunk.to(self.device), normalize=True)
            for chunk in torch.split(pixels, CHUNK)
        ]
        return torch.cat(chunks)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of N texts, [N, D], normalised to length 1; white space around a text is ignored."""
        return self.embed_new(texts, {})[0]

    def open(self, images: Sequence[Image]) -> "OpenClipScores":
        """Embed the images and return an `OpenClipScores` for them, without known texts."""
        return OpenClipScores(self, self.embed_images(images))

    @torch.inference_mode()
    def embed_new(self, texts: Sequence[str], known: Known) -> tuple[Tensor, list[bool]]:
        """Embed each distinct text that is not known; return the embeddings [N, D] and whether each text was cut.

        Args:
            texts: N texts; white space around a text is ignored.
            known: texts that are already embedded; the new ones are added to it.
        """
        if not texts:
            return self._no_rows(), []
        stripped = [text.strip() for text in texts]
        if new := [text for text in dict.fromkeys(stripped) if text not in known]:
            tokens, cut = self._tokenize(new)
            chunks = [self._encode_texts(chunk.to(self.device)) for chunk in torch.split(tokens, CHUNK)]
            known.update(zip(new, zip(torch.cat(chunks), cut, strict=True), strict=True))
        return torch.stack([known[text][0] for text in stripped]), [known[text][1] for text in stripped]

    def _encode_texts(self, tokens: Tensor) -> Tensor:
        """Return the embeddings [N, D], normalised to length 1, of token ids [N, context_length].

        CLIP's standard text encoder is causal and takes the output at the end mark, which has the largest id. Slots after
        the last end mark of the batch do not affect the result, so they are not computed.
        """
        model = self.model
        if (
            not isinstance(model, open_clip.CLIP)
            or model.attn_mask is None
            or model.text_pool_type != "argmax"
        ):
            return model.encode_text(tokens, normalize=True)  # type: ignore[no-any-return]
        used = int(tokens.argmax(dim=-1).max()) + 1
        shorter = {
            "positional_embedding": model.positional_embedding[:used],
            "attn_mask": model.attn_mask[:used, :used],
        }
        output = torch.func.functional_call(model, shorter, (None, tokens[:, :used]))
        return output["text_features"] if model.output_dict else output[1]  # type: ignore[no-any-return]

    def _tokenize(self, texts: list[str]) -> tuple[Tensor, list[bool]]:
        """Return token ids [N, context_length] and whether each text was cut to fit.

        The tokenizer cuts a text silently. So it is called with a limit of context_length + 2: a text that needs the
        additional slots does not fit.
        """
        limit = self.context_length
        wide = self.tokenizer(["", *texts], context_length=limit + 2)
        padding, wide = wide[0, -1], wide[1:]
        cut = (wide[:, limit] != padding).tolist()
        tokens = wide[:, :limit].clone()
        for row, is_cut in enumerate(cut):
            if is_cut:
                tokens[row] = self.tokenizer([texts[row]], context_length=limit)[0]
        return tokens, cut

    def _no_rows(self) -> Tensor:
        width = self.model.encode_text(
            self.tokenizer([""], context_length=self.context_length).to(self.device)
        ).shape[-1]
        return torch.zeros(0, width, device=self.device)


@dataclass(frozen=True)
class OpenClipScores:
    """The `ImageScores` of an open_clip scorer; keeps the embeddings of texts."""

    scorer: OpenClipScorer
    images: Tensor
    """Embeddings [N, D], normalised to length 1: one row per image."""
    known: Known = field(default_factory=dict)

    @torch.inference_mode()
    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        """Return R_I = max(100 * cosine, 0) of each text with its image (equation 3); see `ImageScores`."""
        if len(owners) != len(texts):
            raise ValueError(f"{len(owners)} images for {len(texts)} texts")
        embeddings, truncated = self.scorer.embed_new(texts, self.known)
        scores = (100 * (self.images[list(owners)] * embeddings).sum(dim=-1)).clamp(0, 100)
        return [Relevance(*pair) for pair in zip(scores.tolist(), truncated, strict=True)]

    @torch.inference_mode()
    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        """Return the largest cosine similarity, 0..1, of each text to an earlier text of its answer; see `ImageScores`."""
        pairs = [(text, other) for text, before in zip(texts, earlier, strict=True) for other in before]
        if not pairs:
            return [0.0] * len(texts)
        one = self.scorer.embed_new([text for text, _ in pairs], self.known)[0]
        other = self.scorer.embed_new([before for _, before in pairs], self.known)[0]
        cosines = iter((one * other).sum(dim=-1).clamp(0, 1).tolist())
        return [max((next(cosines) for _ in before), default=0.0) for before in earlier]


def load_open_clip(folder: str | Path, *, device: str = "cpu") -> OpenClipScorer:
    """Load a scorer in eval mode and float32, without running code from its folder or reading files outside it.

    Args:
        folder: contains `open_clip_config.json`, `open_clip_model.safetensors` and, if the configuration has an
            `hf_tokenizer_name`, a `tokenizer.json`.
        device: a torch device: `cpu` or `cuda`.

    Raises:
        UserError: a file is missing, the configuration has a key or value that is not allowed, or the weights are pickled,
            damaged, not finite or not those of the configured model.
    """
    folder = Path(folder)
    _check_place(str(folder))
    config = read_config(folder, do=DO)
    files = weight_files(folder, WEIGHTS, do=DO)
    # Built on the meta device first: a configuration of another model is refused before memory is allocated.
    with torch.device("meta"):
        shell = _build(config, folder)
    expected = {name: tuple(value.shape) for name, value in shell.state_dict().items()}
    check_shapes(read_shapes(files, do=DO), expected, place=str(folder), do=DO)
    model = _build(config, folder).to(device=device)
    model.load_state_dict({name: value for file in files for name, value in load_file(file).items()})
    check_finite(model.state_dict().items(), place=str(folder), do=DO)
    # open_clip returns the model in train mode: dropout would be on.
    model.eval().requires_grad_(False)
    tokenizer, vocabulary = _tokenizer(config, folder)
    if vocabulary > model.vocab_size:
        got, expected_size = f"{model.vocab_size}", f"at least the tokenizer's {vocabulary}"
        place = f"{folder / CONFIG}: model_cfg.text_cfg.vocab_size"
        raise UserError(place, got=got, expected=expected_size, do=DO)
    return OpenClipScorer(model, _preprocessing(config, model), tokenizer, model.context_length, device)


def _check_place(name: str) -> None:
    """Raise if the scorer is a name on the Hub: its files must be downloaded to a folder, where they are checked."""
    if name.startswith(HUB):
        model = name.removeprefix(HUB)
        do = f"hf download {model} --local-dir scorers/{model.rpartition('/')[2]}"
        raise UserError(name, got="a name on the Hub", expected="a folder on this machine", do=do)


def _build(config: ScorerConfig, folder: Path) -> Any:
    """Build the model with random weights, in train mode."""
    kind = open_clip.CustomTextCLIP if config.model_cfg.custom_text else open_clip.CLIP
    try:
        return kind(**config.model_arguments())
    except Exception as error:  # noqa: BLE001 - incompatible sizes can raise any error
        got = " ".join(str(error).split()) or type(error).__name__
        raise UserError(str(folder / CONFIG), got=got, expected="compatible sizes", do=DO) from None


def _preprocessing(config: ScorerConfig, model: Any) -> Callable[[Image], Tensor]:
    """Return a function from an RGB image to the vision tower's input, [3, height, width]."""
    own = config.preprocess_cfg.model_dump(exclude_none=True, exclude_unset=True, exclude={"size"})
    return image_transform_v2(PreprocessCfg(**own, size=model.visual.image_size), is_train=False)  # type: ignore[no-any-return]


def _tokenizer(config: ScorerConfig, folder: Path) -> tuple[Callable[..., Tensor], int]:
    """Return CLIP's standard tokenizer or the one in the folder, and the size of its vocabulary."""
    text = config.model_cfg.text_cfg
    chosen = text.tokenizer_kwargs.model_dump(exclude_none=True) if text.tokenizer_kwargs else {}
    strip_sep_token = chosen.pop("strip_sep_token", False)
    if not text.hf_tokenizer_name:
        simple = open_clip.SimpleTokenizer(context_length=text.context_length, **chosen)
        return simple, simple.vocab_size
    place = folder / "tokenizer.json"
    if not place.is_file():
        raise UserError(str(place), got="no such file", expected="the scorer's tokenizer", do=DO)
    try:
        own = HFTokenizer(
            str(folder),
            context_length=text.context_length,
            tokenizer_mode=text.tokenizer_mode,
            strip_sep_token=strip_sep_token,
            trust_remote_code=False,  # if unset, transformers asks at the terminal
            local_files_only=True,
            **chosen,
        )
    except Exception as error:  # noqa: BLE001 - loading an untrusted file can raise any error
        got = " ".join(str(error).split()) or type(error).__name__
        raise UserError(str(place), got=got, expected="a tokenizer without code", do=DO) from None
    return own, len(own.tokenizer)
