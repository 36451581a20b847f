"""Attention on the image: worked out by hand where it is even, and measured for models of several families."""

from pathlib import Path

import pytest
import torch

from csrdata.errors import UserError
from csrdata.policy.image_attention import image_attention
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import completion_ids, encode
from csrdata.records import Answer, Kind, Question
from tests.families import FAMILIES, unlike_pictures
from tests.tiny import tiny_llava, tiny_smolvlm

QUESTIONS = [
    Question(f"q{number}", "validation", Kind.DESCRIBE, f"{number}.png", "Describe the image.", None, None)
    for number in range(2)
]
ANSWERS = [
    Answer("q0", " There is a red circle.", 6, True, None, None, None),
    Answer("q1", " A star", 2, False, None, None, None),
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return unlike_pictures(tmp_path / "pictures")[0].parent


def _lengths(policy: Policy, pictures: Path) -> list[tuple[int, int, int]]:
    """Return the tokens of each prompt, of its image and of its answer."""
    from csrdata.images import load_image

    found = []
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        image = load_image(question.image, root=pictures, place="")
        ids = encode(policy.processor, [image], [policy.prompt(question.text)])["input_ids"][0]
        of_image = int((ids == policy.model.config.image_token_id).sum())
        own = completion_ids(policy.processor, answer.text, complete=answer.finished)
        found.append((len(ids), of_image, len(own)))
    return found


@pytest.mark.parametrize("build", [tiny_llava, tiny_smolvlm])
def test_even_attention_gives_the_image_its_share_of_the_tokens(
    build: type[Path], tmp_path: Path, pictures: Path
) -> None:
    """Queries of zero attend evenly: with n tokens up to the one that predicts, and m of the image, the share is m / n."""
    policy = load_policy(build(tmp_path / "policy"))
    with torch.no_grad():
        for name, weights in policy.model.named_parameters():
            if "q_proj" in name and "vision" not in name:
                weights.zero_()
    found = image_attention(policy, QUESTIONS, ANSWERS, root=pictures, progress=False)
    for shares, (prompt, of_image, answer) in zip(found, _lengths(policy, pictures), strict=True):
        expected = [of_image / (prompt + position) for position in range(answer)]
        assert shares == pytest.approx(expected, abs=1e-6)


def test_a_blank_answer_has_no_shares(tmp_path: Path, pictures: Path) -> None:
    """An answer without a token and without an end has nothing to measure."""
    policy = load_policy(tiny_llava(tmp_path / "policy"))
    blank = Answer("q0", "", 0, False, None, None, None)
    assert image_attention(policy, QUESTIONS[:1], [blank], root=pictures, progress=False) == [[]]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3_window", "internvl", "llava_next", "glm4v"])
def test_families_with_image_tokens_are_measured(family: str, tmp_path: Path, pictures: Path) -> None:
    """One share for each token of the answer, above 0 and below 1."""
    policy = load_policy(FAMILIES[family](tmp_path / "policy"))
    first, second = image_attention(policy, QUESTIONS, ANSWERS, root=pictures, progress=False)
    assert [len(first), len(second)] == [own for _, _, own in _lengths(policy, pictures)]
    assert all(0 < share < 1 for share in (*first, *second))


def test_a_model_without_such_weights_is_one_line(tmp_path: Path, pictures: Path) -> None:
    """Llama 3.2 Vision reads the image in layers of their own: the line says so and how to turn the measure off."""
    policy = load_policy(FAMILIES["mllama"](tmp_path / "policy"))
    with pytest.raises(UserError) as caught:
        image_attention(policy, QUESTIONS, ANSWERS, root=pictures, progress=False)
    assert str(caught.value) == (
        f"{tmp_path}/policy: MllamaForConditionalGeneration: got attention weights over other tokens than those of prompt "
        "and answer, expected a model whose answers attend to image tokens in the prompt, and that returns the weights. "
        "Next: set measure_attention: null in params.yaml, then: dvc repro"
    )
