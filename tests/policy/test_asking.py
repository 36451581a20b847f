"""Yes/no questions: every way of encoding gives what encoding the whole prompt gives, for every family."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from csrdata.errors import UserError
from csrdata.policy import asking
from csrdata.policy.asking import Asker, first_tokens, frame_of
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import CachedPasses, PlainPasses
from csrdata.policy.prompting import encode, render_prompt
from csrdata.policy.question_block import QuestionPasses
from tests.families import FAMILIES, unlike_pictures
from tests.tiny import picture, tiny_llava

QUESTIONS = ["Is there a star?", "Is this true of the image? A red circle. Answer yes or no.", "Yes or no?"]
WAYS = {
    "llava": (QuestionPasses, True),
    "llava_next": (QuestionPasses, True),
    "qwen2_vl": (QuestionPasses, True),
    "idefics3": (QuestionPasses, True),
    "internvl": (QuestionPasses, True),
    "gemma3_window": (QuestionPasses, True),
    "glm4v": (QuestionPasses, True),
    "mllama": (CachedPasses, True),
    "paligemma_template": (QuestionPasses, False),
}
"""By family: the passes, and whether the questions about an image share its prefix. PaliGemma reads prompts in both
directions."""


def slowly(policy: Policy, image: Image.Image, question: str) -> float:
    """Return P(yes) / (P(yes) + P(no)) from one pass over the whole prompt, summed token by token."""
    inputs = encode(policy.processor, [image], [render_prompt(policy.processor, question)])
    with torch.inference_mode():
        chances = policy.model(**inputs).logits[0, -1].double().softmax(-1).tolist()
    yes, no = (math.fsum(chances[token] for token in ids) for ids in first_tokens(policy.tokenizer))
    return yes / (yes + no)


def shapes(folder: Path) -> list[Image.Image]:
    return [
        Image.open(path).convert("RGB") for path in unlike_pictures(folder, sizes=((160, 120), (90, 200)))
    ]


@pytest.mark.parametrize("name", WAYS)
def test_each_answer_is_that_of_the_whole_prompt(name: str, tmp_path: Path) -> None:
    """Questions of unlike length about images of unlike shape, in one call and in several, within 1e-4."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    images = shapes(tmp_path / "images")
    pairs = [(0, QUESTIONS[0]), (1, QUESTIONS[1]), (0, QUESTIONS[1]), (1, QUESTIONS[0]), (0, QUESTIONS[0])]
    asker = Asker(policy, images)
    found = asker.ask([image for image, _ in pairs], [question for _, question in pairs])
    found += asker.ask([1], [QUESTIONS[2]])
    expected = [slowly(policy, images[image], question) for image, question in [*pairs, (1, QUESTIONS[2])]]
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[0] == found[4]
    assert len({round(value, 5) for value in found}) > 2
    assert (type(asker._passes), asker._shares) == WAYS[name]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_llava(tmp_path_factory.mktemp("asked")))


def asked(asker: Asker, images: int) -> list[float]:
    """Ask every question about every image, the images in turn."""
    pairs = [(image, question) for question in QUESTIONS for image in range(images)]
    return asker.ask([image for image, _ in pairs], [question for _, question in pairs])


@pytest.mark.parametrize(("rows", "images"), [(1, 1), (4, 8), (256, 2)])
def test_the_size_of_a_block_changes_no_answer(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, rows: int, images: int
) -> None:
    """However many questions and images go together, the answers are the same within rounding, each in its place."""
    pictures = [picture(seed) for seed in range(3)]
    whole = asked(Asker(policy, pictures), 3)
    monkeypatch.setattr(asking, "ROWS", rows)
    monkeypatch.setattr(asking, "IMAGES", images)
    assert asked(Asker(policy, pictures), 3) == pytest.approx(whole, abs=1e-5)
    assert len(set(whole)) == len(whole)


def test_the_same_calls_give_the_same_bits(policy: Policy) -> None:
    """A second asker gives identical answers, also after ordinary use of the model in between."""
    pictures = [picture(seed) for seed in range(2)]
    first = asked(Asker(policy, pictures), 2)
    slowly(policy, pictures[0], QUESTIONS[0])
    assert asked(Asker(policy, pictures), 2) == first


def test_a_question_is_asked_once(policy: Policy) -> None:
    """What has been answered is kept: the same question about the same image makes no pass."""
    asker = Asker(policy, [picture(0)])
    found = asked(asker, 1)
    asker.policy = None  # type: ignore[assignment]
    asker._passes = None
    assert asked(asker, 1) == found


def test_the_plain_path_encodes_each_question(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes the plain path shares nothing, and gives the same answers."""
    monkeypatch.setattr(asking, "passes_for", lambda model, *_, **__: PlainPasses(model))
    asker = Asker(policy, [picture(0), picture(1)])
    expected = [slowly(policy, picture(image), question) for question in QUESTIONS for image in range(2)]
    assert asked(asker, 2) == pytest.approx(expected, abs=1e-4)
    assert not asker._shares


def test_a_question_is_framed_as_prompts_were_at_sampling(policy: Policy) -> None:
    """With stored prompts, their rendering surrounds the question: a template that prints the date changes nothing."""
    text = "Describe it."
    stored = render_prompt(policy.processor, text).replace("USER:", "3 May. USER:")
    dated = Policy(policy.model, policy.processor, policy.folder, {text: stored})
    assert "3 May." in frame_of(dated).around("Is it?")
    assert frame_of(policy).around("Is it?") == render_prompt(policy.processor, "Is it?")


def test_a_placeholder_in_a_sentence_cannot_be_asked(policy: Policy) -> None:
    """A sentence that spells out a special token would be read as another prompt."""
    asker = Asker(policy, [picture(0)])
    assert not asker.can_ask("A red <image> circle.")
    assert asker.can_ask("A red circle.")


class Mute:
    """A tokenizer that begins every text alike."""

    name_or_path = "mute"

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, Sequence[int]]:
        return {"input_ids": [7, *text.encode()]}


def test_a_tokenizer_must_tell_yes_from_no(policy: Policy) -> None:
    """Tokens that begin both words are left out; if none is left, one line says so."""
    yes, no = first_tokens(policy.tokenizer)
    assert yes
    assert not set(yes) & set(no)
    space = policy.tokenizer(" ", add_special_tokens=False)["input_ids"][0]
    assert space not in (*yes, *no)
    with pytest.raises(UserError, match="mute: got a tokenizer that begins yes and no with the same tokens"):
        first_tokens(Mute())  # type: ignore[arg-type]
