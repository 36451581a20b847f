"""Greedy answers and the log-probabilities of answers, on tiny models of two families."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from csrdata.errors import UserError
from csrdata.images import load_image
from csrdata.policy.answering import answer, completion_logprobs
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import banned_ids, encode, end_ids, render_prompt
from csrdata.records import Kind, Question
from tests.tiny import FAMILIES, pictures

TEXTS = (
    "Describe the image.",
    "Is there a triangle?",
    "What do you see in this picture? Is it red or blue or green?",
)
TOKENS = 12


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A tiny policy of each family."""
    family: str = request.param
    return load_policy(FAMILIES[family](tmp_path_factory.mktemp(family) / "model"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four images: 0.png to 3.png."""
    folder = tmp_path_factory.mktemp("root")
    pictures(folder, 4)
    return folder


def _questions(count: int = 7) -> list[Question]:
    return [
        Question(f"q{index}", "held_out", Kind.DESCRIBE, f"{index % 4}.png", TEXTS[index % 3], None, None)
        for index in range(count)
    ]


def _logits(policy: Policy, root: Path, question: Question, completion: Sequence[int]) -> torch.Tensor:
    """Return the logits [tokens + 1, V] from the prompt's last token on, for one prompt and completion without padding."""
    images = [load_image(question.image, root=root, place=question.question_id)]
    inputs = encode(policy.processor, images, [render_prompt(policy.processor, question.text)])
    prompt = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat(
        [inputs["input_ids"], torch.tensor([[*completion]], dtype=torch.long)], dim=1
    )
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        logits: torch.Tensor = policy.model(**inputs).logits[0, prompt - 1 :]
    return logits


def test_answers_are_the_models_first_choice_in_the_order_of_the_questions(
    policy: Policy, root: Path
) -> None:
    """Every token of a batched answer is the most probable allowed token for the question alone."""
    questions = _questions()
    replies = answer(policy, questions, root=root, max_new_tokens=TOKENS, batch_size=3, progress=False)
    banned = banned_ids(policy.model, policy.processor)
    for question, reply in zip(questions, replies, strict=True):
        logits = _logits(policy, root, question, reply.token_ids)
        logits[:, banned] = -torch.inf
        assert logits.argmax(-1)[:-1].tolist() == list(reply.token_ids)
        assert not set(banned) & set(reply.token_ids)
    assert len({reply.token_ids for reply in replies}) > 1


def test_batch_size_changes_no_answer(policy: Policy, root: Path) -> None:
    """A question gets the same answer alone and in a batch."""
    alone, together = (
        answer(policy, _questions(), root=root, max_new_tokens=TOKENS, batch_size=size, progress=False)
        for size in (1, 7)
    )
    assert alone == together


def test_an_answer_ends_at_the_end_token_or_at_the_limit(policy: Policy, root: Path) -> None:
    """A finished answer has one end token, the last; an unfinished answer has exactly `max_new_tokens` tokens."""
    ends = set(end_ids(policy.model, policy.processor))
    replies = answer(policy, _questions(), root=root, max_new_tokens=TOKENS, batch_size=7, progress=False)
    for reply in replies:
        assert reply.finished == (reply.token_ids[-1] in ends)
        assert not ends & set(reply.token_ids[:-1])
        assert reply.finished or len(reply.token_ids) == TOKENS


def test_a_forced_end_is_seen_and_what_follows_is_cut(policy: Policy, root: Path) -> None:
    """If the end is always the most probable token, an answer is the end alone, with an empty text."""
    head = policy.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    end = end_ids(policy.model, policy.processor)[-1]
    bias = torch.zeros(head.weight.shape[0])
    bias[end] = 1e4
    handle = head.register_forward_hook(lambda _module, _inputs, output: output + bias)
    try:
        replies = answer(
            policy, _questions(3), root=root, max_new_tokens=TOKENS, batch_size=3, progress=False
        )
    finally:
        handle.remove()
    assert [(reply.text, reply.token_ids, reply.finished) for reply in replies] == [("", (end,), True)] * 3


def test_logprobs_are_sums_over_the_answers_tokens(policy: Policy, root: Path) -> None:
    """Sums from padded batches equal those of each answer alone within 1e-4; an empty answer has 0."""
    questions = _questions(5)
    vocabulary = len(policy.tokenizer)
    generator = torch.Generator().manual_seed(0)
    completions = [
        torch.randint(5, vocabulary, (length,), generator=generator).tolist() for length in (4, 9, 1, 0, 6)
    ]
    found = completion_logprobs(policy, questions, completions, root=root, batch_size=2, progress=False)
    for question, completion, value in zip(questions, completions, found, strict=True):
        rows = _logits(policy, root, question, completion).log_softmax(-1)[:-1]
        expected = sum(float(row[token]) for row, token in zip(rows, completion, strict=True))
        assert value == pytest.approx(expected, abs=1e-4)
    assert found[3] == 0


@pytest.mark.parametrize(
    ("image", "text", "words"),
    [
        ("0.png", "  ", "q-1: got ' ', expected an instruction with words in it"),
        ("none.png", "Describe it.", "question q-1: image none.png: got no such file"),
        ("../0.png", "Describe it.", "question q-1: image ../0.png: got ../0.png, expected a path relative to"),
        ("0.png", "What is <image> for?", "question q-1: got the text <image>, expected a text without the special"),
    ],
)  # fmt: skip
def test_a_bad_question_is_refused_by_name(
    policy: Policy, root: Path, image: str, text: str, words: str
) -> None:
    """An empty question, a missing image or one outside the root, and a placeholder in the text, each name the question."""
    question = Question("q-1", "held_out", Kind.DESCRIBE, image, text, None, None)
    with pytest.raises(UserError) as caught:
        answer(policy, [question], root=root, max_new_tokens=2, batch_size=1, progress=False)
    assert words in str(caught.value)
