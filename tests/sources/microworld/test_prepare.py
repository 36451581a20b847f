"""A tiny prepared microworld, loaded by the standard loaders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.data_utils import apply_chat_template
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from csrdata.sources.microworld import policy_training
from csrdata.sources.microworld.conversation import answer_text, prompt_text, user_message
from csrdata.sources.microworld.drawing import draw
from csrdata.sources.microworld.folders import SETTINGS_FILE, is_complete
from csrdata.sources.microworld.images import read_scenes
from csrdata.sources.microworld.language import DESCRIBE_PROMPTS, PLACE_PHRASES
from csrdata.sources.microworld.lessons import Lesson, Turn, draw_lesson, judging, questions_of
from csrdata.sources.microworld.parsing import all_sentences
from csrdata.sources.microworld.scorer_training import holds, matching_loss, pixels
from csrdata.sources.microworld.world import SHAPES, WORLD_VERSION, sample_scene, sample_scenes, stable_random
from csrdata.storage.tables import hash_path, read_json

ANSWER = "There is an orange ring at the top left. The house on the left side is blue."


@pytest.fixture(scope="module")
def processor(tiny_seed: Path) -> Any:
    """The tiny policy's processor as everyone loads it."""
    return AutoProcessor.from_pretrained(tiny_seed / "policy")


@pytest.fixture(scope="module")
def policy(tiny_seed: Path) -> Any:
    """The tiny policy as everyone loads it."""
    return AutoModelForImageTextToText.from_pretrained(tiny_seed / "policy").eval()


def test_two_builds_give_the_same_bytes(
    tiny_seed: Path, build_tiny: Callable[[Path], object], tmp_path: Path
) -> None:
    """Every file of the seed is the same in a second build."""
    build_tiny(tmp_path / "again")
    assert hash_path(tmp_path / "again") == hash_path(tiny_seed)


def test_finished_models_are_kept_after_a_kill(
    tiny_seed: Path, build_tiny: Callable[[Path], object], tmp_path: Path
) -> None:
    """What was finished is not trained again, what was not is, and the bytes come out the same."""
    folder = tmp_path / "killed"
    shutil.copytree(tiny_seed, folder)
    shutil.rmtree(folder / "policy")
    (folder / ".policy.part").mkdir()
    kept = (folder / "scorer" / "open_clip_model.safetensors").stat().st_ino
    build_tiny(folder)
    assert (folder / "scorer" / "open_clip_model.safetensors").stat().st_ino == kept
    assert hash_path(folder) == hash_path(tiny_seed)


@pytest.mark.parametrize("model", ["scorer", "policy"])
def test_a_model_of_another_world_is_trained_again(tiny_seed: Path, model: str) -> None:
    """The world's version is among a model's settings: a model that learned from other scenes is never kept."""
    settings = read_json(tiny_seed / model / SETTINGS_FILE, made_by="")
    assert is_complete(tiny_seed / model, settings)
    assert settings["world"] == WORLD_VERSION
    assert not is_complete(tiny_seed / model, settings | {"world": WORLD_VERSION + 1})


def test_scenes_and_images_belong_together(tiny_seed: Path) -> None:
    """The table lists the scenes of the splits that stages read, and the files show them."""
    scenes = read_scenes(tiny_seed / "scenes.parquet")
    assert len(scenes) == 10
    assert read_scenes(tiny_seed / "scenes.parquet", split="held_out") == sample_scenes(
        split="held_out", count=2, seed=0
    )
    for scene in scenes:
        image = np.asarray(Image.open(tiny_seed / "images" / f"{scene.scene_id}.png"))
        assert np.array_equal(image, draw(scene))


def test_both_models_see_the_pixels_of_training(tiny_seed: Path, processor: Any) -> None:
    """open_clip's transform and the policy's processor give what the models were trained on."""
    scene = sample_scene(split="train", index=0, seed=0)
    trained_on = pixels(torch.from_numpy(draw(scene))[None])
    _, transform = open_clip.create_model_from_pretrained(f"local-dir:{tiny_seed / 'scorer'}")  # type: ignore[misc]
    image: Any = Image.fromarray(draw(scene))
    assert torch.allclose(transform(image)[None], trained_on, atol=1e-6)
    assert torch.allclose(
        processor.image_processor(image, return_tensors="pt")["pixel_values"], trained_on, atol=1e-6
    )


def test_the_policy_sees_with_the_scorers_eye(tiny_seed: Path, policy: Any) -> None:
    """The policy's vision tower computes what the scorer's computes."""
    clip, _ = open_clip.create_model_from_pretrained(f"local-dir:{tiny_seed / 'scorer'}")  # type: ignore[misc]
    images = pixels(torch.from_numpy(draw(sample_scene(split="train", index=0, seed=0)))[None])
    with torch.inference_mode():
        tower = policy.model.vision_tower
        # The scorer pools by the mean over its patches; the class token comes first.
        pooled = tower.post_layernorm(tower(images).last_hidden_state)[:, 1:].mean(1)
        assert torch.allclose(pooled @ clip.eval().visual.proj, clip.encode_image(images), atol=1e-5)


def test_every_word_is_one_token(processor: Any) -> None:
    """In an answer, every word of the microworld is a single token."""
    words = {word for text in all_sentences() for word in text.rstrip(".").split()}
    assert all(len(processor.tokenizer.tokenize(f" {word}")) == 1 for word in words)


def test_string_and_typed_content_are_the_same_prompt(processor: Any) -> None:
    """A message may be typed content or a string with the placeholder in it; the prompt starts with <s> once."""
    typed = prompt_text(processor, "Describe this image.")
    plain = processor.apply_chat_template(
        [{"role": "user", "content": "<image>\nDescribe this image."}],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert typed == plain == "<s>USER: <image>\nDescribe this image. ASSISTANT:"


def test_preference_training_sees_the_ids_of_teaching(processor: Any) -> None:
    """Prompt and answer have the same ids in teaching, tokenised together, and in TRL's collator."""
    image = Image.fromarray(draw(sample_scene(split="train", index=0, seed=0)))
    example = {
        "prompt": [user_message("Describe this image.")],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}],
        "rejected": [
            {"role": "assistant", "content": [{"type": "text", "text": "There is a red star at the top."}]}
        ],
    }
    rendered = apply_chat_template(example, processor)
    assert rendered["prompt"] == prompt_text(processor, "Describe this image.")
    assert rendered["chosen"] == answer_text(ANSWER)

    words = policy_training._Words(processor)
    taught = words.row(Lesson(0, (Turn("Describe this image.", ANSWER, 1.0),)))
    together = processor(
        images=[image], text=[rendered["prompt"] + rendered["chosen"]], add_special_tokens=False
    )
    assert together["input_ids"][0] == taught.ids.tolist()

    batch = DataCollatorForVisionPreference(processor)(
        [
            {
                "images": [image],
                "prompt": [{"role": "user", "content": "Describe this image."}],
                "chosen": [{"role": "assistant", "content": ANSWER}],
                "rejected": [{"role": "assistant", "content": "There is a red star at the top."}],
            }
        ]
    )
    assert batch["input_ids"][0].tolist() == taught.ids.tolist()
    assert batch["completion_mask"][0][1:].tolist() == taught.weights.int().tolist()


def test_a_lesson_of_turns_is_the_templates_conversation(processor: Any) -> None:
    """Several turns about one image have the ids of the chat template's conversation; only answers have weights above 0."""
    asked = [("Is there a star in the image?", "Yes."), ("Where is the ring?", "At the top.")]
    lesson = Lesson(0, tuple(Turn(request, answer, 4.0) for request, answer in asked))
    talk = [user_message(asked[0][0]), {"role": "assistant", "content": asked[0][1]}]
    talk += [{"role": "user", "content": asked[1][0]}, {"role": "assistant", "content": asked[1][1]}]
    whole = processor.apply_chat_template(talk, tokenize=False)
    image = Image.fromarray(draw(sample_scene(split="train", index=0, seed=0)))
    taught = policy_training._Words(processor).row(lesson)
    assert (
        processor(images=[image], text=[whole], add_special_tokens=False)["input_ids"][0]
        == taught.ids.tolist()
    )
    answered = processor.tokenizer.decode(taught.ids[1:][taught.weights > 0])
    assert answered == " Yes.</s> At the top.</s>"


def test_the_taught_loss_is_the_models_own(policy: Any, processor: Any) -> None:
    """The loss on remembered image features is that of the whole model on pixels and placeholders."""
    scenes = sample_scenes(split="policy", count=2, seed=0)
    words = policy_training._Words(processor)
    lessons = [
        Lesson(0, (Turn("Describe this image.", ANSWER, 1.0),)),
        Lesson(1, (Turn("Is there a star in the image?", "Yes.", 1.0),)),
    ]
    rows = [words.row(lesson) for lesson in lessons]
    with torch.inference_mode():
        seen = policy_training._image_features(policy, scenes)
        fast = policy_training._loss(policy, rows, seen=seen, first_image_token=words.first_image_token)
        whole = torch.tensor(0.0)
        for scene, row in zip(scenes, rows, strict=True):
            logits = policy(
                input_ids=row.ids[None], pixel_values=pixels(torch.from_numpy(draw(scene))[None])
            ).logits[0, :-1]
            losses = torch.nn.functional.cross_entropy(logits, row.ids[1:], reduction="none")
            whole += (losses * row.weights).sum()
    assert torch.allclose(fast, whole, rtol=1e-4)


def test_a_layer_trained_on_whitened_features_takes_the_towers_own() -> None:
    """Whitened features have mean 0 and covariance 1; after folding, a layer gives for the raw ones what it gave for them."""
    drawn = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=drawn) * torch.tensor([10.0, 5.0, 1.0, 0.5, 0.2, 0.1])
    features = torch.randn(400, 9, 6, generator=drawn) @ mixing + 3.0
    whitening = policy_training._Whitening.of(features)
    flat = whitening.seen.flatten(0, 1)
    assert torch.allclose(flat.mean(0), torch.zeros(6), atol=1e-3)
    assert torch.allclose(flat.T @ flat / len(flat), torch.eye(6), atol=2e-2)
    layer = torch.nn.Linear(6, 4)
    before = layer(whitening.seen)
    whitening.fold_into(layer)
    assert torch.allclose(layer(features), before, atol=1e-3)


def test_generation_ends_and_does_not_sample(policy: Any) -> None:
    """The saved generation settings are greedy and know the special tokens."""
    settings = policy.generation_config
    assert not settings.do_sample
    assert (settings.pad_token_id, settings.bos_token_id, settings.eos_token_id) == (0, 1, 2)


def test_lessons_come_in_their_shares() -> None:
    """Questions and judgements have the given shares, descriptions the rest; yes and no are balanced except for stereotypes."""
    scenes = sample_scenes(split="policy", count=50, seed=0)
    lessons = [
        draw_lesson(
            scenes,
            stable_random("share", number),
            stereotype_rate=0.0,
            question_share=0.3,
            judging_share=0.1,
            short_answer_weight=4.0,
        )
        for number in range(2000)
    ]
    first = [lesson.turns[0].request for lesson in lessons]
    described = sum(request in DESCRIBE_PROMPTS for request in first)
    judged = sum(request.startswith("Which of these") for request in first)
    assert 0.56 < described / 2000 < 0.64
    assert 0.08 < judged / 2000 < 0.12
    answers = [turn.answer for lesson in lessons for turn in lesson.turns]
    assert answers.count("Yes.") == answers.count("No.") > 0


def test_questions_ask_for_every_present_object_once() -> None:
    """Half of the present shapes get a yes/no question, the others one about place or colour; no shape occurs twice."""
    scene = next(s for s in sample_scenes(split="policy", count=50, seed=0) if len(s.objects) == 5)
    said = questions_of(scene, stable_random("questions", 0), stereotype_rate=0.0)
    asked = [shape for request, _ in said for shape in SHAPES if shape in request]
    assert len(asked) == len(set(asked)) == 3 + 3 + 2
    for request, answer in said:
        thing = next((thing for thing in scene.objects if thing.shape in request), None)
        if request.startswith("Where"):
            assert thing is not None
            assert answer.rstrip(".").lower() in PLACE_PHRASES[thing.place]
        elif request.startswith("What colour"):
            assert thing is not None
            assert answer.rstrip(".").lower() == thing.colour
        else:
            assert answer == ("No." if thing is None else "Yes.")


def test_judging_has_a_true_answer() -> None:
    """The right answer names only present objects; both letters occur."""
    scene = sample_scene(split="train", index=1, seed=0)
    contests = [judging(scene, stable_random("judging", number)) for number in range(40)]
    assert {answer for _, answer in contests} == {"A.", "B."}


def test_matching_loss_leaves_out_what_is_true_too() -> None:
    """A text is not a negative of an image of which it is true: a loss worked out by hand.

    Logits 0 everywhere, text 0 true of image 0, text 1 of both. By text: ln 2, ln 1; by image: ln 1, ln 2.
    """
    is_true = torch.tensor([[True, False], [True, True]])
    assert torch.allclose(matching_loss(torch.zeros(2, 2), is_true), torch.tensor(2.0).log() / 2)


def test_a_text_holds_where_all_its_claims_do() -> None:
    """Of two images, the second shows both things that the text names."""
    assert holds([[3], [3, 5]], [[3, 5], [3]]).tolist() == [[False, True], [True, True]]
