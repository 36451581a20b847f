"""Several questions about an image share its prefix: the answers are those of one prompt after another."""

from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.policy import shared_answers
from csrdata.policy.answering import answer
from csrdata.policy.loading import load_policy
from csrdata.policy.shared_answers import SharedAnswers, answer_by_image
from csrdata.records import Kind, Question
from tests.families import FAMILIES, unlike_pictures
from tests.tiny import pictures, tiny_llava, tiny_smolvlm

TEXTS = (
    "Is there a star?",
    "Is there a very large blue square in the middle of the image?",
    "Describe the image.",
)


def _questions(images: list[Path], root: Path) -> list[Question]:
    """Return three questions about the first image, two about the next, one about the third, mixed."""
    found = [
        Question(
            f"q{number}-{place}", "test", Kind.DESCRIBE, image.relative_to(root).as_posix(), text, None, None
        )
        for number, image in enumerate(images)
        for place, text in enumerate(TEXTS[: 3 - number % 3])
    ]
    return found[::2] + found[1::2]


@pytest.mark.parametrize("make", [tiny_llava, tiny_smolvlm], ids=["llava", "smolvlm"])
@pytest.mark.parametrize("at_once", [1, 4])
def test_answers_are_those_of_one_prompt_after_another(tmp_path: Path, make: object, at_once: int) -> None:
    """Text, tokens and end of each answer equal `generate`'s with one question a batch, in the order of the questions."""
    policy = load_policy(make(tmp_path / "policy"))  # type: ignore[operator]
    questions = _questions(pictures(tmp_path, 4), tmp_path)
    slow = answer(policy, questions, root=tmp_path, max_new_tokens=12, batch_size=1, progress=False)
    fast = answer_by_image(
        policy, questions, root=tmp_path, max_new_tokens=12, images_at_once=at_once, progress=False
    )
    assert fast == slow
    assert len({reply.text for reply in slow}) > 2


@pytest.mark.parametrize("name", ["qwen2_vl", "paligemma_template"])
def test_families_that_cannot_share_are_answered_all_the_same(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of unlike sizes: the answers are the same whether a prefix is shared (Qwen2-VL) or not (PaliGemma)."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    images = unlike_pictures(tmp_path / "images", sizes=((160, 120), (90, 200)))
    questions = _questions(list(images), tmp_path)
    calls: list[int] = []
    plain = shared_answers.answer

    def counted(*words: object, **more: object) -> object:
        calls.append(len(words[1]))  # type: ignore[arg-type]
        return plain(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_answers, "answer", counted)
    fast = answer_by_image(
        policy, questions, root=tmp_path, max_new_tokens=8, images_at_once=2, progress=False
    )
    assert fast == answer(policy, questions, root=tmp_path, max_new_tokens=8, batch_size=1, progress=False)
    assert sum(calls) == (0 if name == "qwen2_vl" else len(questions))


@pytest.mark.parametrize(("name", "trials"), [("llava", 1), ("qwen2_vl", 2)])
def test_each_shape_of_inputs_is_tried_once(
    tmp_path: Path, name: str, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of two sizes in two calls: LLaVA scales both to one shape and is tried once, Qwen2-VL has a shape for each."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    images = unlike_pictures(tmp_path / "images", sizes=((160, 120), (90, 200)))
    questions = _questions(list(images), tmp_path)
    calls: list[object] = []
    choose = shared_answers.choose_path
    monkeypatch.setattr(
        shared_answers, "choose_path", lambda *words, **more: calls.append(words) or choose(*words, **more)
    )
    answering = SharedAnswers(policy, max_new_tokens=4)
    found = [answering.answer([one], root=tmp_path, images_at_once=2, progress=False)[0] for one in questions]
    assert found == answer(policy, questions, root=tmp_path, max_new_tokens=4, batch_size=1, progress=False)
    assert len(calls) == trials


def test_a_bad_question_is_refused_first(tmp_path: Path) -> None:
    """A question that spells the image placeholder stops all before an image is opened."""
    policy = load_policy(tiny_llava(tmp_path / "policy"))
    question = Question("q", "test", Kind.DESCRIBE, "none.png", "Is <image> there?", None, None)
    with pytest.raises(UserError, match="question q"):
        answer_by_image(policy, [question], root=tmp_path, max_new_tokens=8, images_at_once=2, progress=False)
