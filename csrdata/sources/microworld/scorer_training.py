"""Train a small CLIP from scratch on true sentences, and save it in open_clip's standard format.

Every image of a batch has a text of one or two of its true sentences. The loss is CLIP's, with one difference: if a text is
also true of another image of the batch, that image is excluded from its negatives.

To save time, the text tower is trained with only the token ids that occur. The saved model is a standard one, with the whole
vocabulary of open_clip's tokenizer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file

from csrdata.progress import progress
from csrdata.sources.microworld.drawing import IMAGE_SIZE, draw_all
from csrdata.sources.microworld.folders import is_complete, whole_folder
from csrdata.sources.microworld.optimisation import Optimisation
from csrdata.sources.microworld.parsing import Claim, all_sentences
from csrdata.sources.microworld.world import (
    COLOURS,
    PLACES,
    SHAPES,
    WORLD_VERSION,
    sample_scenes,
    stable_number,
)

VOCABULARY = 49408
"""Number of token ids of open_clip's built-in tokenizer."""
CONTEXT_LENGTH = 32
"""The most tokens of a text, start and end tokens included; two sentences of the microworld fit."""
PIXEL_MEAN = PIXEL_STD = (0.5, 0.5, 0.5)
_POSITION_SCALE = 8.0
"""Factor on CLIP's initial position embeddings. A place is one patch, so only its position embedding tells where an object
is; at CLIP's initial scale, the model does not learn it (docs/experiments.md)."""
_HIGHEST_LOGIT_SCALE = math.log(100)  # as in CLIP


@dataclass(frozen=True)
class ScorerShape:
    """Sizes of a CLIP; its vision tower may also be the policy's."""

    patch: int
    width: int
    layers: int
    head_width: int
    text_width: int
    text_layers: int
    embedding: int

    def config(self, *, vocabulary: int, context: int) -> dict[str, Any]:
        """Return open_clip's `model_cfg`; `vocabulary`: token ids, `context`: tokens."""
        return {
            "embed_dim": self.embedding,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "layers": self.layers,
                "width": self.width,
                "head_width": self.head_width,
                "patch_size": self.patch,
                # The mean over patches instead of the class token: every patch gets gradients from the first step, while a
                # class token must first learn where to attend.
                "pool_type": "avg",
            },
            "text_cfg": {
                "context_length": context,
                "vocab_size": vocabulary,
                "width": self.text_width,
                "heads": max(1, self.text_width // 32),
                "layers": self.text_layers,
            },
        }


SCORER = ScorerShape(
    patch=22, width=128, layers=4, head_width=32, text_width=128, text_layers=2, embedding=128
)
HELD_OUT_SCORER = ScorerShape(
    patch=22, width=96, layers=6, head_width=24, text_width=96, text_layers=3, embedding=96
)


def train_scorer(
    folder: Path,
    *,
    shape: ScorerShape,
    split: str,
    scenes: int,
    steps: int,
    batch: int,
    learning_rate: float,
    matrix_learning_rate: float,
    seed: int,
    weight_decay: float = 0.02,
    warm_up: int = 20,
) -> None:
    """Train on `scenes` scenes of `split` and save into `folder`; a folder finished with these settings is kept.

    `batch`: images per step, each with one text.
    `learning_rate`, `matrix_learning_rate`, `weight_decay`, `warm_up`: see `Optimisation`.
    """
    settings = {key: value for key, value in locals().items() if key not in ("folder", "shape")}
    settings |= {"shape": asdict(shape), "threads": torch.get_num_threads(), "world": WORLD_VERSION}
    if is_complete(folder, settings):
        return
    torch.manual_seed(stable_number("scorer weights", split, seed) % 2**31)
    rng = np.random.default_rng(stable_number("scorer batches", split, seed))
    drawn = sample_scenes(split=split, count=scenes, seed=seed)
    images = torch.from_numpy(draw_all(drawn))
    said = _Sentences()
    claims = [
        [claim_number(thing.shape, thing.colour, thing.place) for thing in scene.objects] for scene in drawn
    ]

    model: Any = open_clip.CLIP(**shape.config(vocabulary=len(said.token_ids), context=said.length))
    with torch.no_grad():
        model.visual.positional_embedding.mul_(_POSITION_SCALE)
    optimisation = Optimisation(
        model.named_parameters(),
        blocks=".resblocks.",
        learning_rate=learning_rate,
        matrix_learning_rate=matrix_learning_rate,
        weight_decay=weight_decay,
        steps=steps,
        warm_up=warm_up,
    )
    model.train()
    order: list[int] = []
    bar = progress(range(steps), title=f"train {folder.name}", unit="step")
    for step in bar:
        while len(order) < batch:
            order.extend(rng.permutation(len(drawn)).tolist())
        rows, order = order[:batch], order[batch:]
        texts, said_claims = said.draw([claims[row] for row in rows], rng)
        pictures = model.encode_image(pixels(images[rows]), normalize=True)
        words = model.encode_text(texts, normalize=True)
        logits = model.logit_scale.exp() * words @ pictures.T
        loss = matching_loss(logits, holds([claims[row] for row in rows], said_claims))
        loss.backward()  # type: ignore[no-untyped-call]
        optimisation.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _HIGHEST_LOGIT_SCALE)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    _save(model, folder, shape=shape, token_ids=said.token_ids, settings=settings)


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Return images [N, 66, 66, 3], 0..255, as model inputs [N, 3, 66, 66], -1..1, equal to those of both processors."""
    return (images.permute(0, 3, 1, 2).float() / 255 - PIXEL_MEAN[0]) / PIXEL_STD[0]


def matching_loss(logits: torch.Tensor, is_true: torch.Tensor) -> torch.Tensor:
    """Return CLIP's symmetric loss; the negatives of text n are the images of which it is not true.

    `logits`: [batch, batch], texts by images, at most 100; text n belongs to image n.
    `is_true`: [batch, batch], texts by images, whether the text is true of the image.
    """
    own = torch.arange(len(logits))
    others = is_true.clone().fill_diagonal_(False)
    rivals = logits.masked_fill(others, -math.inf)
    return (F.cross_entropy(rivals, own) + F.cross_entropy(rivals.T, own)) / 2


def claim_number(shape: str, colour: str, place: str) -> int:
    """Return a claim as one number, 0 to len(SHAPES) * len(COLOURS) * len(PLACES) - 1."""
    return (SHAPES.index(shape) * len(COLOURS) + COLOURS.index(colour)) * len(PLACES) + PLACES.index(place)


class _Sentences:
    """Every sentence of the microworld as token ids, renumbered so that only ids that occur are counted."""

    def __init__(self) -> None:
        claims_by_sentence = all_sentences()
        full = SimpleTokenizer()(list(claims_by_sentence), context_length=CONTEXT_LENGTH)
        # `unique` sorts, so the end token stays the highest id, at which open_clip reads the text's embedding.
        self.token_ids, compact = torch.unique(full, return_inverse=True)
        lengths = (full != 0).sum(1).tolist()
        rows = compact.tolist()
        self._bare = [row[1 : length - 1] for row, length in zip(rows, lengths, strict=True)]
        self._begin, self._end = rows[0][0], len(self.token_ids) - 1
        self.length = 2 * max(len(bare) for bare in self._bare) + 2
        self._by_claim = _rows_by_claim(list(claims_by_sentence.values()))

    def draw(
        self, claims: Sequence[Sequence[int]], rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[list[int]]]:
        """Return a random text of one or two claims of each image: ids [images, length], and the claims of each text."""
        texts = torch.zeros(len(claims), self.length, dtype=torch.long)
        chosen = [rng.permutation(each)[: rng.integers(1, 3)].tolist() for each in claims]
        for row, numbers in enumerate(chosen):
            ids = [self._begin]
            for number in numbers:
                ids += self._bare[self._by_claim[number][rng.integers(len(self._by_claim[number]))]]
            texts[row, : len(ids) + 1] = torch.tensor([*ids, self._end])
        return texts, chosen


def _rows_by_claim(claims: Sequence[Claim]) -> list[list[int]]:
    """Return, for each claim number, the rows of the sentences with that claim."""
    rows: dict[int, list[int]] = {}
    for row, claim in enumerate(claims):
        rows.setdefault(claim_number(claim.shape, claim.colour, claim.place), []).append(row)
    return [rows[number] for number in range(len(rows))]


def holds(claims: Sequence[Sequence[int]], said: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return whether all claims of a text are true of an image: [texts, images]."""
    seen = torch.zeros(len(SHAPES) * len(COLOURS) * len(PLACES), len(claims), dtype=torch.bool)
    for column, numbers in enumerate(claims):
        seen[list(numbers), column] = True
    return torch.stack([seen[list(numbers)].all(0) for numbers in said])


def _save(
    model: Any, folder: Path, *, shape: ScorerShape, token_ids: torch.Tensor, settings: Mapping[str, object]
) -> None:
    """Save the model, with the trained rows at their places in the standard vocabulary and context; other rows are zero."""
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    for key, rows, size in (
        ("token_embedding.weight", token_ids, VOCABULARY),
        ("positional_embedding", torch.arange(len(weights["positional_embedding"])), CONTEXT_LENGTH),
    ):
        full = torch.zeros(size, weights[key].shape[1])
        full[rows] = weights[key]
        weights[key] = full
    config = {
        "model_cfg": shape.config(vocabulary=VOCABULARY, context=CONTEXT_LENGTH),
        "preprocess_cfg": {
            "mean": list(PIXEL_MEAN),
            "std": list(PIXEL_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    with whole_folder(folder, settings) as part:
        save_file(
            {key: value.contiguous() for key, value in weights.items()}, part / "open_clip_model.safetensors"
        )
        (part / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
