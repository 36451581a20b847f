"""Findings about a policy: its template, its end tokens, its limits, its decoding path."""

from pathlib import Path
from typing import Any

import pytest

from csrdata.checking.decoding_path import check_path, decoding_path
from csrdata.checking.findings import Finding, Level
from csrdata.checking.limits import Measured, check_context, check_sentences, measure
from csrdata.checking.template import check_template
from csrdata.images import load_image
from csrdata.policy.choosing import PathChoice
from csrdata.policy.loading import Policy, load_policy
from csrdata.records import Prompt
from tests.tiny import IMAGE_TOKENS, pictures, tiny_llava

PROMPTS = [Prompt("p0", "0.png", "Describe it."), Prompt("p1", "1.png", "What is there in the image?")]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return load_policy(tiny_llava(tmp_path / "policy"))


def _only(findings: list[Finding], level: Level) -> Finding:
    (found,) = [one for one in findings if one.level is level]
    return found


def test_template_and_ends_agree(policy: Policy) -> None:
    """A model whose template and generation config end an answer alike has no more to say."""
    lines = [one.line() for one in check_template(policy, "Describe it.")]
    assert lines == [
        "ok      chat template: a prompt becomes '<s>USER: <image>\\nDescribe it. ASSISTANT:'",
        "ok      end tokens: </s>: chat template and generation config agree",
    ]


def test_a_template_without_an_image(policy: Policy) -> None:
    """A chat template that leaves the image out is an error."""
    processor: Any = policy.processor
    processor.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'][-1]['text'] }}{% endfor %}"
    )
    found = _only(check_template(policy, "Describe it."), Level.ERROR)
    assert "chat template: got a prompt without an image placeholder" in found.words
    assert "chat_template.jinja" in str(found.do)


def test_a_template_that_ends_otherwise(policy: Policy) -> None:
    """A template whose end is not among the generation config's is a warning that names both."""
    config: Any = policy.model.generation_config
    config.eos_token_id = policy.tokenizer.convert_tokens_to_ids("<pad>")
    found = _only(check_template(policy, "Describe it."), Level.WARNING)
    assert found.words == (
        "the chat template ends an answer with </s>, generation_config.json with <pad>: each of them ends one"
    )


def test_an_end_that_the_tokenizer_lacks(policy: Policy) -> None:
    """An end token behind the vocabulary, as of another tokenizer, is an error."""
    config: Any = policy.model.generation_config
    config.eos_token_id = [2, 128009]
    found = _only(check_template(policy, "Describe it."), Level.ERROR)
    assert "got eos_token_id 128009 in generation_config.json, expected less than" in found.words


def test_an_end_that_is_no_token(policy: Policy) -> None:
    """An end of sequence that is no token of the tokenizer is an error."""
    tokenizer: Any = policy.tokenizer
    tokenizer.unk_token = "<pad>"  # noqa: S105 - no password
    tokenizer._special_tokens_map.update(eos_token="<eot>")
    found = _only(check_template(policy, "Describe it."), Level.ERROR)
    assert "got <eot>, expected one token of the tokenizer" in found.words


def test_tokens_are_counted(policy: Policy, tmp_path: Path) -> None:
    """The image's tokens and the whole prompt's are counted as the policy takes them."""
    pictures(tmp_path, 1)
    found = measure(policy, PROMPTS[0], load_image("0.png", root=tmp_path, place="p0"))
    assert found.image == IMAGE_TOKENS
    assert found.whole > IMAGE_TOKENS + 4


@pytest.mark.parametrize(
    ("wholes", "level", "words"),
    [
        ([100, 90], Level.OK, "4 image tokens, up to 100 tokens in a prompt; 300 of 512 positions"),
        ([400, 90], Level.WARNING, "an answer to p0 is cut at 112 tokens"),
    ],
)
def test_context(policy: Policy, wholes: list[int], level: Level, words: str) -> None:
    """Where the context has no room for the longest answer, answers are cut: a warning that says at what length."""
    measured = [Measured(f"p{index}", IMAGE_TOKENS, whole) for index, whole in enumerate(wholes)]
    (found,) = check_context(policy, measured, max_response_tokens=200, max_new_tokens=20)
    assert found.level is level
    assert words in found.words
    if level is not Level.OK:
        assert found.do == "set generate_beams.max_response_tokens to 112 or less, then: csrdata check"


@pytest.mark.parametrize(
    ("wholes", "level", "words"),
    [
        ([600, 90], Level.WARNING, "1 of 2 prompts are dropped, such as p0"),
        ([600, 590], Level.ERROR, "expected a sum of at most 512"),
    ],
)
def test_no_room_for_any_answer(policy: Policy, wholes: list[int], level: Level, words: str) -> None:
    """A prompt that fills the context is dropped: a warning, and an error if all do."""
    measured = [Measured(f"p{index}", IMAGE_TOKENS, whole) for index, whole in enumerate(wholes)]
    for found in check_context(policy, measured, max_response_tokens=200, max_new_tokens=20):
        assert found.level is level
        assert words in found.words
        assert found.do is not None
        assert found.do.startswith("lower prepare.max_pixels")


def test_sentences_against_the_scorers() -> None:
    """A sentence may be as long as a scorer reads without its two marks; a longer one is a warning."""
    limits = {"scorers.search": 77, "scorers.held_out": None}
    fine, unknown = (
        check_sentences(max_sentence_tokens=75, max_response_tokens=1024, text_limits={key: value})
        for key, value in limits.items()
    )
    assert fine[0].words == "at most 75 tokens, within the text limits (77 of scorers.search)"
    assert unknown[0].words == "scorers.held_out states no limit of a text"
    (long,) = check_sentences(
        max_sentence_tokens=76, max_response_tokens=1024, text_limits={"scorers.search": 77}
    )
    assert "got 76, expected at most 75 for scorers.search, which reads 77 tokens" in long.words
    (wide,) = check_sentences(max_sentence_tokens=76, max_response_tokens=60, text_limits={})
    assert "got 76, expected at most max_response_tokens (60)" in wide.words


def test_the_decoding_path(policy: Policy, tmp_path: Path) -> None:
    """The path of the two prompts is what a shard takes; a slower one is a warning with its reason."""
    pictures(tmp_path, 2)
    images = [load_image(one.image, root=tmp_path, place=one.prompt_id) for one in PROMPTS]
    choice = decoding_path(policy, PROMPTS, images, at_once=2, answer_tokens=20)
    (found,) = check_path(choice)
    assert found.line().startswith("ok      decoding: shared prefix: the log-probabilities of a full pass")
    (slow,) = check_path(PathChoice("cached", "no shared prefix: layer 0 has a state"))
    assert slow.level is Level.WARNING
    assert slow.words == (
        "the cached path, image and prompt are encoded once per sentence: no shared prefix: layer 0 has a state"
    )
