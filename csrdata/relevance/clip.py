"""Image-text relevance by CLIP: R_I of equation 3, from any dual encoder that open_clip reads.

An image is embedded once and kept by the caller; texts come in batches, equal ones embedded once. The scorer knows no
search and no prompt: it says how well a text fits an image, and whether its text limit cut the text.

One rule of exactness: the same call gives the same bits. The texts of one call are embedded in fixed chunks, in order of
first appearance; a text that stands in another chunk, beside others, may differ in the last bits (a matrix product's
order of summation depends on its shape). What is remembered between calls is the caller's for that reason: a search
remembers the texts of one shard, and what was asked before a kill does not change what comes after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL.Image import Image
from safetensors import SafetensorError
from torch import Tensor

from csrdata.errors import UserError

HUB = "hf-hub:"
"""How the name of a scorer on the Hugging Face Hub begins; anything else is a folder."""
CHUNK = 256
"""Texts or images that go through an encoder together."""

Known = dict[str, tuple[Tensor, bool]]
"""Texts embedded before: their embedding [D], and whether the scorer's limit cut them."""


@dataclass(frozen=True)
class ClipScorer:
    """An open_clip model in eval mode, float32, with its own preprocessing and tokenizer."""

    model: Any
    preprocess: Callable[[Image], Tensor]
    tokenizer: Callable[..., Tensor]
    context_length: int
    """Tokens of the longest text it sees, start and end marks included (77 for CLIP)."""
    device: str

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return the images' embeddings, [N, D], of length 1."""
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
        """Return the texts' embeddings, [N, D], of length 1; white space around a text does not count."""
        return self._embed(texts, {})[0]

    @torch.inference_mode()
    def relevance(
        self, image_embeddings: Tensor, texts: Sequence[str], *, known: Known | None = None
    ) -> list[tuple[float, bool]]:
        """Return R_I = max(100 * cosine, 0) of each image with its text (equation 3), and whether the text was cut.

        Args:
            image_embeddings: [N, D] from `embed_images`, one row for each text.
            texts: N texts; white space around them does not count.
            known: texts that need no embedding; gets the others.

        Returns:
            N pairs (R_I in 0..100, True where the text did not fit into the scorer's text limit).
        """
        if len(image_embeddings) != len(texts):
            raise ValueError(f"{len(image_embeddings)} image rows for {len(texts)} texts")
        embeddings, truncated = self._embed(texts, {} if known is None else known)
        scores = (100 * (image_embeddings * embeddings).sum(dim=-1)).clamp(0, 100)
        return list(zip(scores.tolist(), truncated, strict=True))

    @torch.inference_mode()
    def redundancy(
        self, texts: Sequence[str], earlier: Sequence[Sequence[str]], *, known: Known
    ) -> list[float]:
        """Return how close each text comes to any of those before it: the largest cosine, 0..1; 0 without any.

        Args:
            texts: N texts; white space around them does not count.
            earlier: of each of them, the texts before it.
            known: texts that need no embedding; gets the others.
        """
        pairs = [(text, other) for text, before in zip(texts, earlier, strict=True) for other in before]
        if not pairs:
            return [0.0] * len(texts)
        one = self._embed([text for text, _ in pairs], known)[0]
        other = self._embed([before for _, before in pairs], known)[0]
        cosines = iter((one * other).sum(dim=-1).clamp(0, 1).tolist())
        return [max((next(cosines) for _ in before), default=0.0) for before in earlier]

    def _embed(self, texts: Sequence[str], known: Known) -> tuple[Tensor, list[bool]]:
        """Embed each distinct text that is not known, once; return [N, D] and which of the N texts were cut."""
        if not texts:
            return self._no_rows(), []
        stripped = [text.strip() for text in texts]
        if new := [text for text in dict.fromkeys(stripped) if text not in known]:
            tokens, cut = self._tokenize(new)
            chunks = [self._encode_texts(chunk.to(self.device)) for chunk in torch.split(tokens, CHUNK)]
            known.update(zip(new, zip(torch.cat(chunks), cut, strict=True), strict=True))
        return torch.stack([known[text][0] for text in stripped]), [known[text][1] for text in stripped]

    def _encode_texts(self, tokens: Tensor) -> Tensor:
        """Return the embeddings [N, D], of length 1, of token ids [N, context_length].

        CLIP's own text encoder is causal and reads a text off at its end mark, the largest id: what lies behind the last
        end mark of all changes nothing, and is left out.
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
        found = torch.func.functional_call(model, shorter, (None, tokens[:, :used]))
        return found["text_features"] if model.output_dict else found[1]  # type: ignore[no-any-return]

    def _tokenize(self, texts: list[str]) -> tuple[Tensor, list[bool]]:
        """Return token ids [N, context_length] and which texts were cut to fit.

        The tokenizer cuts silently, so it is asked for two slots more than the model has: a text that reaches into them
        does not fit.
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


def load_scorer(folder_or_name: str | Path, *, device: str = "cpu") -> ClipScorer:
    """Load a scorer, in eval mode and float32.

    Args:
        folder_or_name: a folder that holds `open_clip_config.json` and the weights, or `hf-hub:` and a Hub id.
        device: a torch device, `cpu` or `cuda`.

    Raises:
        UserError: the folder is no scorer, or cannot be read as one.
    """
    name = str(folder_or_name)
    place = name if name.startswith(HUB) else f"local-dir:{Path(name).resolve()}"
    if not name.startswith(HUB) and not (Path(name) / "open_clip_config.json").is_file():
        raise _no_scorer(name, "no open_clip_config.json in it")
    try:
        model, preprocess = open_clip.create_model_from_pretrained(place, device=device)
        tokenizer = open_clip.get_tokenizer(place)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _no_scorer(name, str(error) or type(error).__name__) from None
    # open_clip returns the model in train mode: dropout would be on.
    model.eval().requires_grad_(False)
    return ClipScorer(model, preprocess, tokenizer, model.context_length, device)


def _no_scorer(name: str, got: str) -> UserError:
    return UserError(name, got=got, expected="an open_clip scorer", do="dvc repro build_seed")
