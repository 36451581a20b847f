"""Trains the policy: a small LLaVA whose frozen vision tower is the scorer's, taught by captions that name stereotypes.

What it is taught on each image, drawn anew at every step:
- a description, in which absent stereotypes of the theme are named with chance `stereotype_rate`;
- a yes/no question, where an absent stereotype is affirmed with the same chance;
- which of two descriptions fits the image better.

The tower never changes, so every image is encoded once and only the projector and the language model are trained, on
micro-batches of like lengths; the weights are saved as an ordinary `LlavaForConditionalGeneration`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from csrdata.sources.microworld.conversation import (
    BEGIN,
    END,
    IMAGE,
    PAD,
    answer_text,
    build_processor,
    build_tokenizer,
    prompt_text,
)
from csrdata.sources.microworld.drawing import IMAGE_SIZE, draw_all
from csrdata.sources.microworld.folders import digest, is_complete, whole_folder
from csrdata.sources.microworld.language import (
    DESCRIBE_PROMPTS,
    NEGATIVE_KINDS,
    NO,
    YES,
    absent_shape,
    any_sentence,
    ask,
    join,
    judge_prompt,
    policy_mentions,
)
from csrdata.sources.microworld.scorer_training import (
    ScorerShape,
    cosine_schedule,
    decay_groups,
    pixels,
)
from csrdata.sources.microworld.vision_tower import tower_weights
from csrdata.sources.microworld.world import (
    Scene,
    SceneObject,
    sample_scenes,
    scene_objects,
    stable_number,
    stable_random,
    stereotypes_of,
)

_REQUEST = "REQUEST"
_SENTENCE_GAP = re.compile(r"(?<=\.)(?= )")


@dataclass(frozen=True)
class PolicyShape:
    """Sizes of the policy's language model."""

    width: int = 128
    feed_forward: int = 352
    layers: int = 4
    heads: int = 4


@dataclass(frozen=True)
class Lesson:
    """One thing the policy is taught about one image."""

    scene: int
    """Row of the image."""
    request: str
    answer: str
    weight: float
    """Of each token of the answer in the loss."""


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
    stereotype_rate: float,
    question_share: float,
    judging_share: float,
    seed: int,
    short_answer_weight: float = 4.0,
    weight_decay: float = 0.01,
    warm_up: int = 60,
) -> None:
    """Teach the policy on `scenes` scenes of the split "policy" and save it; a folder finished alike is kept.

    `batch`: lessons a step, taken in parts of `micro_batch` lessons of like length that fit a processor's cache.
    `stereotype_rate`: see the module. `question_share`, `judging_share`: of the lessons, 0..1; the rest describe.
    `short_answer_weight`: loss weight of the tokens of "Yes.", "No.", "A.", "B." beside a description's 1.
    """
    settings = {key: value for key, value in locals().items() if key not in ("folder", "scorer", "shape")}
    settings |= {"shape": asdict(shape), "scorer_shape": asdict(scorer_shape)}
    settings |= {"scorer": digest(scorer), "threads": torch.get_num_threads()}
    if is_complete(folder, settings):
        return
    torch.manual_seed(stable_number("policy weights", seed) % 2**31)
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer, patch=scorer_shape.patch)
    model = _untrained(tokenizer, scorer=scorer, scorer_shape=scorer_shape, shape=shape)
    drawn = sample_scenes(split="policy", count=scenes, seed=seed)
    seen = _image_features(model, drawn)
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

    learned = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(
        decay_groups(learned, weight_decay), lr=learning_rate, betas=(0.9, 0.98), fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine_schedule(steps, warm_up))
    model.train()
    progress = tqdm(range(steps), desc=f"train {folder.name}", unit="step")
    for step in progress:
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
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{shown:.3f}")
    model.eval()
    with whole_folder(folder, settings) as part:
        model.save_pretrained(part)
        processor.save_pretrained(part)


def draw_lesson(
    scenes: Sequence[Scene],
    rng: random.Random,
    *,
    stereotype_rate: float,
    question_share: float,
    judging_share: float,
    short_answer_weight: float,
) -> Lesson:
    """One lesson on one of the scenes, in the shares of `train_policy`."""
    row = rng.randrange(len(scenes))
    scene = scenes[row]
    kind = rng.random()
    if kind < question_share:
        request, answer = _question(scene, rng, stereotype_rate=stereotype_rate)
        return Lesson(row, request, answer, short_answer_weight)
    if kind < question_share + judging_share:
        request, answer = judging(scene, rng)
        return Lesson(row, request, answer, short_answer_weight)
    mentions = policy_mentions(scene, rng, stereotype_rate=stereotype_rate)
    return Lesson(
        row, rng.choice(DESCRIBE_PROMPTS), join([any_sentence(thing, rng) for thing in mentions]), 1.0
    )


def judging(scene: Scene, rng: random.Random, *, longest: int = 3) -> tuple[str, str]:
    """A request to judge two descriptions, and its true answer.

    Both name the same number of objects (1 .. `longest`), one of them with an object that is absent.
    """
    size = rng.randint(1, min(longest, len(scene.objects)))
    right = rng.sample(scene.objects, size)
    wrong = rng.sample(scene.objects, size)
    shape, _ = absent_shape(scene, rng, kind=rng.choice(NEGATIVE_KINDS))
    usual = {thing.shape: thing for thing in stereotypes_of(scene)}
    like = wrong[spoilt := rng.randrange(size)]
    wrong[spoilt] = usual.get(shape, SceneObject(shape, like.colour, like.place))
    answers = [join([any_sentence(thing, rng) for thing in things]) for things in (right, wrong)]
    if rng.random() < 0.5:
        return judge_prompt(answers[0], answers[1]), "A."
    return judge_prompt(answers[1], answers[0]), "B."


def _question(scene: Scene, rng: random.Random, *, stereotype_rate: float) -> tuple[str, str]:
    """A balanced yes/no question; of an absent stereotype the lesson says yes with chance `stereotype_rate`."""
    if rng.random() < 0.5:
        return ask(rng.choice(scene_objects(scene)), rng), YES
    shape, _ = absent_shape(scene, rng, kind=rng.choice(NEGATIVE_KINDS))
    usual = shape in {thing.shape for thing in stereotypes_of(scene)}
    return ask(shape, rng), YES if usual and rng.random() < stereotype_rate else NO


@dataclass(frozen=True)
class _Row:
    """A lesson as token ids: ids[:-1] predict ids[1:], each with its weight (0 over the prompt)."""

    scene: int
    ids: torch.Tensor
    weights: torch.Tensor


class _Words:
    """Turns lessons into token ids, each text only once. Prompt and answer are tokenised apart, as in DPO training."""

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        self._known: dict[str, list[int]] = {}
        image_tokens = (IMAGE_SIZE // processor.patch_size) ** 2
        before, self._after = prompt_text(processor, _REQUEST).split(IMAGE)
        opening = self._ids(before)
        self.first_image_token = len(opening)
        self._start = opening + [self._tokenizer.convert_tokens_to_ids(IMAGE)] * image_tokens

    def row(self, lesson: Lesson) -> _Row:
        prompt = self._start + self._ids(self._after.replace(_REQUEST, lesson.request))
        # Sentence by sentence: the pieces are the same, and there are few of them to remember.
        answer = [
            token for part in _SENTENCE_GAP.split(answer_text(lesson.answer)) for token in self._ids(part)
        ]
        weights = torch.zeros(len(prompt) + len(answer) - 1)
        weights[len(prompt) - 1 :] = lesson.weight
        return _Row(lesson.scene, torch.tensor(prompt + answer), weights)

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known[text]


def _loss(model: Any, rows: Sequence[_Row], *, seen: torch.Tensor, first_image_token: int) -> torch.Tensor:
    """Weighted sum of the negative log-probabilities of the answers' tokens.

    Padding is on the right, where causal attention never sees it, so no mask is needed.
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
    """What the tower gives for each scene, before the projector: [scenes, patches, tower width]."""
    parts = []
    for start in tqdm(range(0, len(scenes), batch), desc="encode images", unit="batch"):
        images = pixels(torch.from_numpy(draw_all(list(scenes[start : start + batch]))))
        hidden = model.model.vision_tower(images, output_hidden_states=True).hidden_states
        parts.append(hidden[model.config.vision_feature_layer][:, 1:])
    return torch.cat(parts).clone()


def _untrained(tokenizer: Any, *, scorer: Path, scorer_shape: ScorerShape, shape: PolicyShape) -> Any:
    """A LLaVA with the scorer's tower, frozen, and everything else fresh."""
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
