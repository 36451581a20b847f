"""Train the policy: a small LLaVA whose frozen vision tower is the scorer's, trained on `lessons`.

The tower never changes, so every image is encoded once. Only the projector and the language model are trained, on
micro-batches of similar lengths. The weights are saved as a standard `LlavaForConditionalGeneration`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import open_clip
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from csrdata.progress import progress
from csrdata.sources.microworld.conversation import (
    BEGIN,
    END,
    IMAGE,
    PAD,
    answer_text,
    build_processor,
    build_tokenizer,
    next_prompt_text,
    prompt_text,
)
from csrdata.sources.microworld.drawing import IMAGE_SIZE, draw_all
from csrdata.sources.microworld.folders import is_complete, whole_folder
from csrdata.sources.microworld.lessons import Lesson, draw_lesson
from csrdata.sources.microworld.optimisation import Optimisation
from csrdata.sources.microworld.scorer_training import ScorerShape, pixels
from csrdata.sources.microworld.vision_tower import tower_weights
from csrdata.sources.microworld.world import WORLD_VERSION, Scene, sample_scenes, stable_number, stable_random
from csrdata.storage.tables import hash_path

_REQUEST = "REQUEST"
_SMALLEST_VARIANCE = 1e-6
"""Of a direction of the tower's features, as a share of the largest: smaller ones are not scaled up to 1."""
_SENTENCE_GAP = re.compile(r"(?<=\.)(?= )")


@dataclass(frozen=True)
class PolicyShape:
    """Sizes of the policy's language model."""

    width: int = 192
    feed_forward: int = 384
    layers: int = 3
    heads: int = 6


def train_policy(
    folder: Path,
    *,
    scorer: Path,
    scorer_shape: ScorerShape,
    shape: PolicyShape,
    scenes: int,
    steps: int,
    batch: int,
    micro_batch: int,
    learning_rate: float,
    matrix_learning_rate: float,
    stereotype_rate: float,
    question_share: float,
    judging_share: float,
    seed: int,
    short_answer_weight: float = 4.0,
    weight_decay: float = 0.01,
    warm_up: int = 20,
) -> None:
    """Train the policy on `scenes` scenes of the split "policy" and save it; a folder finished with these settings is kept.

    `batch`: lessons per step, processed in micro-batches of `micro_batch` lessons of similar length, for a CPU's cache.
    `learning_rate`, `matrix_learning_rate`, `weight_decay`, `warm_up`: see `Optimisation`.
    `stereotype_rate`, `question_share`, `judging_share`, `short_answer_weight`: see `draw_lesson`.
    """
    settings = {key: value for key, value in locals().items() if key not in ("folder", "scorer", "shape")}
    settings |= {"shape": asdict(shape), "scorer_shape": asdict(scorer_shape)}
    settings |= {"scorer": hash_path(scorer), "threads": torch.get_num_threads(), "world": WORLD_VERSION}
    if is_complete(folder, settings):
        return
    torch.manual_seed(stable_number("policy weights", seed) % 2**31)
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer, patch=scorer_shape.patch)
    model = _untrained(tokenizer, scorer=scorer, scorer_shape=scorer_shape, shape=shape)
    drawn = sample_scenes(split="policy", count=scenes, seed=seed)
    whitening = _Whitening.of(_image_features(model, drawn))
    seen = whitening.seen
    words = _Words(processor)

    def lesson(number: int) -> Lesson:
        return draw_lesson(
            drawn,
            stable_random("lesson", seed, number),
            stereotype_rate=stereotype_rate,
            question_share=question_share,
            judging_share=judging_share,
            short_answer_weight=short_answer_weight,
        )

    optimisation = Optimisation(
        model.named_parameters(),
        blocks=".layers.",
        learning_rate=learning_rate,
        matrix_learning_rate=matrix_learning_rate,
        weight_decay=weight_decay,
        steps=steps,
        warm_up=warm_up,
    )
    model.train()
    bar = progress(range(steps), title=f"train {folder.name}", unit="step")
    for step in bar:
        rows = [words.row(lesson(step * batch + number)) for number in range(batch)]
        rows.sort(key=lambda row: len(row.ids))
        total = sum(row.weights.sum() for row in rows)
        shown = 0.0
        for start in range(0, batch, micro_batch):
            loss = _loss(
                model, rows[start : start + micro_batch], seen=seen, first_image_token=words.first_image_token
            )
            (loss / total).backward()  # type: ignore[no-untyped-call]
            shown += float(loss.detach() / total)
        optimisation.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{shown:.3f}", refresh=False)
    model.eval()
    whitening.fold_into(model.model.multi_modal_projector.linear_1)
    with whole_folder(folder, settings) as part:
        model.save_pretrained(part)
        processor.save_pretrained(part)


@dataclass(frozen=True)
class _Whitening:
    """The tower's features with mean 0 and covariance 1, for training; the saved projector takes the tower's own.

    Where an object is makes some 4% of the variance of a tower's features. With the features as they are, a policy may not
    have learned places after 3,000 steps (docs/experiments.md).
    """

    seen: torch.Tensor
    """Whitened features: [scenes, patches, tower width]."""
    mean: torch.Tensor
    """Of the tower's features: [tower width]."""
    matrix: torch.Tensor
    """Whitened = (features - mean) @ matrix: [tower width, tower width], symmetric."""

    @classmethod
    def of(cls, features: torch.Tensor) -> Self:
        """Return the whitening of features [scenes, patches, tower width]."""
        mean = features.mean(dim=(0, 1))
        centred = features - mean
        flat = centred.flatten(0, 1).double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        matrix = (vectors / values.clamp(min=values[-1] * _SMALLEST_VARIANCE).sqrt() @ vectors.T).float()
        return cls(centred @ matrix, mean, matrix)

    @torch.no_grad()
    def fold_into(self, layer: torch.nn.Linear) -> None:
        """Make a layer that was trained on whitened features take the tower's own."""
        layer.weight.copy_(layer.weight @ self.matrix)
        layer.bias.sub_(layer.weight @ self.mean)


@dataclass(frozen=True)
class _Row:
    """A lesson as token ids: ids[:-1] predict ids[1:]; each target has a weight, 0 in the prompt."""

    scene: int
    ids: torch.Tensor
    weights: torch.Tensor


class _Words:
    """Turns lessons into token ids, and caches them by text. Prompt and answer are tokenised apart, as in DPO training."""

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        self._known: dict[str, list[int]] = {}
        image_tokens = (IMAGE_SIZE // processor.patch_size) ** 2
        before, self._after = prompt_text(processor, _REQUEST).split(IMAGE)
        self._next = next_prompt_text(processor, _REQUEST)
        opening = self._ids(before)
        self.first_image_token = len(opening)
        self._start = opening + [self._tokenizer.convert_tokens_to_ids(IMAGE)] * image_tokens

    def row(self, lesson: Lesson) -> _Row:
        ids, weights = list(self._start), [0.0] * len(self._start)
        for number, turn in enumerate(lesson.turns):
            before = self._after if number == 0 else self._next
            request = self._ids(before.replace(_REQUEST, turn.request))
            # Tokenised by sentence: the ids are the same, and the cache holds few different sentences.
            pieces = [self._ids(part) for part in _SENTENCE_GAP.split(answer_text(turn.answer))]
            answer = [token for piece in pieces for token in piece]
            ids += request + answer
            weights += [0.0] * len(request) + [turn.weight] * len(answer)
        return _Row(lesson.scene, torch.tensor(ids), torch.tensor(weights[1:]))

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known[text]


def _loss(model: Any, rows: Sequence[_Row], *, seen: torch.Tensor, first_image_token: int) -> torch.Tensor:
    """Return the weighted sum of the negative log-probabilities of the answers' tokens, nats; a scalar.

    Padding is on the right, where causal attention does not see it, so no mask is needed.
    """
    ids = pad_sequence([row.ids for row in rows], batch_first=True)
    weights = pad_sequence([row.weights for row in rows], batch_first=True)
    inputs = ids[:, :-1]
    embedded = model.get_input_embeddings()(inputs)
    images = model.model.multi_modal_projector(seen[[row.scene for row in rows]])
    after = first_image_token + images.shape[1]
    embedded = torch.cat([embedded[:, :first_image_token], images, embedded[:, after:]], dim=1)
    hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    taught = weights > 0
    losses = F.cross_entropy(model.lm_head(hidden[taught]), ids[:, 1:][taught], reduction="none")
    return (losses * weights[taught]).sum()


@torch.inference_mode()
def _image_features(model: Any, scenes: Sequence[Scene], *, batch: int = 256) -> torch.Tensor:
    """Return the tower's features of each scene, before the projector: [scenes, patches, tower width]."""
    parts = []
    for start in progress(range(0, len(scenes), batch), title="encode images", unit="batch"):
        images = pixels(torch.from_numpy(draw_all(list(scenes[start : start + batch]))))
        hidden = model.model.vision_tower(images, output_hidden_states=True).hidden_states
        parts.append(hidden[model.config.vision_feature_layer][:, 1:])
    return torch.cat(parts).clone()


def _untrained(tokenizer: Any, *, scorer: Path, scorer_shape: ScorerShape, shape: PolicyShape) -> Any:
    """Return a LLaVA with the scorer's tower, frozen; all other weights are newly initialised."""
    ids: Callable[[str], Any] = tokenizer.convert_tokens_to_ids
    special = {"bos_token_id": ids(BEGIN), "eos_token_id": ids(END), "pad_token_id": ids(PAD)}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=scorer_shape.width,
            intermediate_size=4 * scorer_shape.width,
            num_hidden_layers=scorer_shape.layers,
            num_attention_heads=scorer_shape.width // scorer_shape.head_width,
            image_size=IMAGE_SIZE,
            patch_size=scorer_shape.patch,
            projection_dim=scorer_shape.embedding,
            hidden_act="gelu",
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=512,
            **special,
        ),
        image_token_index=ids(IMAGE),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    model: Any = LlavaForConditionalGeneration(config)
    clip, _ = open_clip.create_model_from_pretrained(f"local-dir:{scorer}")
    model.model.vision_tower.load_state_dict(tower_weights(clip), strict=False)
    model.model.vision_tower.requires_grad_(False)
    model.generation_config = GenerationConfig(do_sample=False, **special)  # type: ignore[no-untyped-call]
    return model
