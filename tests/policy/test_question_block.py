"""Questions fed in one pass: the logits of feeding them token by token, for every family whose prefix can be shared."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from csrdata.policy import question_block
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import plain_logits
from csrdata.policy.passes import Node, SharedPasses
from csrdata.policy.prompting import encode, render_prompt
from csrdata.policy.question_block import QuestionPasses, cuts
from tests.families import FAMILIES, unlike_pictures
from tests.tiny import picture, tiny_llava

SHARING = [
    "llava",
    "llava_next_window",
    "llava_onevision",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "idefics3",
    "smolvlm",
    "internvl",
    "gemma3_window",
    "pixtral",
    "mistral3",
    "glm4v",
]
OWNERS = [0, 0, 1, 0, 1]
LENGTHS = [3, 7, 1, 2, 5]


def inputs(policy: Policy, image: Path) -> Mapping[str, torch.Tensor]:
    prompt = render_prompt(policy.processor, "Describe the image.")
    return dict(encode(policy.processor, [Image.open(image).convert("RGB")], [prompt]))


def step_by_step(
    policy: Policy, prompts: list[Mapping[str, torch.Tensor]], questions: list[list[int]], more: list[int]
) -> list[torch.Tensor]:
    """Return the logits after each question and after one token more, fed one at a time to a separate row."""
    found = []
    for owner, question, token in zip(OWNERS, questions, more, strict=True):
        passes = SharedPasses(policy.model)
        passes.admit([0], prompts[owner])
        passes.begin([Node(0, (), None)], groups=1)
        fed = [passes.feed([one])[0] for one in [*question, token]]
        found.append(torch.stack(fed[-2:]).log_softmax(-1))
    return found


@pytest.mark.parametrize("tokens", [1024, 8], ids=["one pass", "several passes"])
@pytest.mark.parametrize("name", SHARING)
def test_one_pass_gives_what_single_steps_give(
    name: str, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a question and behind an answer's token: log-probabilities within 1e-4 and the same argmax, also of plain passes.

    Two prompts of unlike images, admitted in two parts; five questions of 1 to 7 tokens, the prompts mixed.
    """
    monkeypatch.setattr(question_block, "BLOCK_TOKENS", tokens)
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    prompts = [inputs(policy, image) for image in unlike_pictures(tmp_path / "images")]
    words = policy.tokenizer("Is there a blue star or a ring?", add_special_tokens=False)["input_ids"]
    questions = [
        [words[(3 * row + place) % len(words)] for place in range(n)] for row, n in enumerate(LENGTHS)
    ]
    more = words[: len(OWNERS)]
    passes = QuestionPasses(policy.model)
    with torch.inference_mode():
        passes.admit_parts([([number], prompt) for number, prompt in enumerate(prompts)])
        behind = passes.begin_behind(OWNERS, questions).log_softmax(-1)
        passes.keep([0, 1, 3, 4])
        going = passes.feed([more[row] for row in (0, 1, 3, 4)]).log_softmax(-1)
        expected = step_by_step(policy, prompts, questions, more)
        for row, (first, second) in enumerate(expected):
            plain = plain_logits(policy.model, prompts[OWNERS[row]], [tuple(questions[row])])[0]
            for other in (first, plain.log_softmax(-1)):
                assert (behind[row] - other).abs().max() < 1e-4
                assert behind[row].argmax() == other.argmax()
            if row != 2:
                place = (0, 1, 3, 4).index(row)
                assert (going[place] - second).abs().max() < 1e-4
                assert going[place].argmax() == second.argmax()


def test_the_answers_go_on_past_the_room_of_the_cache(tmp_path: Path) -> None:
    """Forty tokens behind a question, more than the cache has room for at first, and most rows have ended by then."""
    policy = load_policy(tiny_llava(tmp_path / "policy"))
    prompt = dict(encode(policy.processor, [picture(0)], [render_prompt(policy.processor, "Describe it.")]))
    passes = QuestionPasses(policy.model)
    words = policy.tokenizer("Is there a star?", add_special_tokens=False)["input_ids"]
    answer = [words[place % len(words)] for place in range(40)]
    with torch.inference_mode():
        passes.admit([0], prompt)
        passes.begin_behind([0, 0, 0], [words, words[:2], words[1:]])
        passes.feed([answer[0]] * 3)
        passes.keep([1])
        for token in answer[1:]:
            logits = passes.feed([token])
        expected = plain_logits(policy.model, prompt, [(*words[:2], *answer)])
    assert (logits.log_softmax(-1) - expected.log_softmax(-1)).abs().max() < 1e-4


def test_earlier_prompts_are_dropped(tmp_path: Path) -> None:
    """Prompts that are admitted take the place of those before: memory holds one block, and the logits are the same."""
    policy = load_policy(tiny_llava(tmp_path / "policy"))
    prompt = render_prompt(policy.processor, "Describe it.")
    passes = QuestionPasses(policy.model)
    words = policy.tokenizer("Is there a star?", add_special_tokens=False)["input_ids"]
    found = []
    for number in (0, 1, 0):
        passes.admit_parts([([number], dict(encode(policy.processor, [picture(number)], [prompt])))])
        assert (passes.present, passes.step) == ([number], None)
        assert passes.prefix is not None
        assert len(passes.prefix.mask) == 1
        found.append(passes.begin_behind([number], [words]))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_a_question_without_tokens_is_refused(tmp_path: Path) -> None:
    """There is nothing to feed, so the caller is wrong."""
    policy = load_policy(tiny_llava(tmp_path / "policy"))
    with pytest.raises(ValueError, match="a question has no token"):
        QuestionPasses(policy.model).begin_behind([0], [[]])


def test_runs_hold_at_most_so_many_tokens() -> None:
    """Each index is in one run, in order; a length beyond the limit is a run by itself."""
    assert list(cuts([2, 3, 4, 9, 1], most=5)) == [(0, 2), (2, 3), (3, 4), (4, 5)]
