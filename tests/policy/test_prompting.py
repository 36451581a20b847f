"""Prompting: generation, evaluation and training turn an instruction and its answer into the same tokens."""

from pathlib import Path

import pytest
import torch
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from csrdata.errors import UserError
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.prompting import (
    answer_opening,
    answer_text,
    are_canonical,
    banned_ids,
    check_prompt,
    check_tokens,
    completion_ids,
    completion_text,
    encode,
    end_ids,
    end_token,
    is_canonical,
    render_prompt,
)
from tests.families import FAMILIES as EVERY_FAMILY
from tests.tiny import FAMILIES, IMAGE_TOKENS, picture

ANSWERS = [
    " There is a red circle. It is 3.5 wide.",
    "Yes.",
    " two  spaces\n\nand lines \n",
    "ends with a space ",
    "é 星",
]


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A tiny policy of each family."""
    return load_policy(FAMILIES[request.param](tmp_path_factory.mktemp("policy")))


def test_an_answer_begins_with_the_templates_white_space(policy: Policy) -> None:
    """A space where the template writes one; none where it writes none, or something else than white space."""
    assert answer_opening(policy.processor) == " "
    template = str(policy.processor.chat_template)
    try:
        for written, expected in (("", ""), ("\n\n", "\n\n"), ("<think></think> ", "")):
            policy.processor.chat_template = (
                "{% for message in messages %}{{ message['role'] }}:{% if message['role'] == 'user' %}<image>?"
                f"{{% else %}}{{{{ {written!r} }}}}{{{{ message['content'][0]['text'] }}}}{{% endif %}}{{% endfor %}}"
                "{% if add_generation_prompt %}assistant:{% endif %}"
            )
            assert answer_opening(policy.processor) == expected
    finally:
        policy.processor.chat_template = template


def test_the_template_opens_the_answer(policy: Policy) -> None:
    """A prompt contains one image placeholder and the instruction, and ends where the answer begins."""
    prompt = render_prompt(policy.processor, "Describe the image.")
    assert prompt.count("<image>") == 1
    assert "Describe the image." in prompt
    assert prompt.lower().endswith("assistant:")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            "<image><image>",
            "got a prompt with 2 image placeholders, expected a template for a user's turn with one",
        ),
        ("", "got a prompt without an image placeholder, expected a template for a user's turn with one"),
    ],
)
def test_a_template_writes_one_image(image: str, words: str, tmp_path: Path) -> None:
    """Two images in one prompt, or none, are refused by name."""
    policy = load_policy(FAMILIES["llava"](tmp_path))
    policy.processor.chat_template = policy.processor.chat_template.replace("<image>", image)
    with pytest.raises(UserError, match=words):
        render_prompt(policy.processor, "Describe it.")


def test_every_listed_end_is_canonical(tmp_path: Path) -> None:
    """An answer may end with any end token of the generation config, and training then writes the same one."""
    policy = load_policy(EVERY_FAMILY["glm4v"](tmp_path))
    ends = end_ids(policy.model, policy.processor)
    assert len(ends) == 3
    for end in ends:
        ids = [*completion_ids(policy.processor, "A cat.")[:-1], end]
        assert is_canonical(policy.processor, ids, ends=ends)
        assert completion_ids(policy.processor, "A cat.", end=end) == ids


def test_a_token_outside_the_output_layer_is_not_banned(tmp_path: Path) -> None:
    """An image placeholder behind the vocabulary has no logit to ban."""
    policy = load_policy(EVERY_FAMILY["mllama"](tmp_path))
    rows = policy.model.config.get_text_config().vocab_size
    assert policy.model.config.image_token_id >= rows
    assert max(banned_ids(policy.model, policy.processor)) < rows


def test_beginning_of_sequence_comes_once(tmp_path: Path) -> None:
    """Beginning-of-sequence is added if the template leaves it out and the tokenizer adds it, and only then."""
    policy = load_policy(FAMILIES["llava"](tmp_path))
    processor, tokenizer = policy.processor, policy.tokenizer
    assert render_prompt(processor, "Hi").count("<s>") == 1
    processor.chat_template = processor.chat_template.replace("{{ bos_token }}", "")
    assert render_prompt(processor, "Hi").count("<s>") == 0
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    assert render_prompt(processor, "Hi").startswith("<s>USER")


def test_encoding_pads_on_the_left(policy: Policy) -> None:
    """Rows are padded on the left, each has its image tokens, and a row's tokens do not depend on other rows."""
    prompts = [
        render_prompt(policy.processor, text) for text in ("Hi.", "Describe this picture in many words.")
    ]
    both = encode(policy.processor, [picture(0), picture(1)], prompts)
    alone = encode(policy.processor, [picture(0)], prompts[:1])
    assert both["attention_mask"][:, -1].tolist() == [1, 1]
    assert both["attention_mask"][0, 0] == 0
    assert both["input_ids"][0][both["attention_mask"][0].bool()].tolist() == alone["input_ids"][0].tolist()
    placeholders = both["input_ids"] == policy.model.config.image_token_id
    assert placeholders.sum(1).tolist() == [IMAGE_TOKENS, IMAGE_TOKENS]


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_round_trip(policy: Policy, answer: str) -> None:
    """Tokens -> text -> tokens gives an answer's tokens again, white space included, with one end."""
    ids = completion_ids(policy.processor, answer)
    assert answer_text(policy.processor, ids) == answer
    assert is_canonical(policy.processor, ids)
    assert [token for token in ids if token in end_ids(policy.model, policy.processor)] == ids[-1:]


def test_other_tokens_of_a_text_are_not_canonical(policy: Policy) -> None:
    """Tokens of single letters, or without the end, are not canonical: training would see others."""
    letters = [token for letter in "red" for token in completion_ids(policy.processor, letter)[:-1]]
    end = completion_ids(policy.processor, "")
    assert answer_text(policy.processor, letters + end) == "red"
    assert not is_canonical(policy.processor, letters + end)
    assert not is_canonical(policy.processor, completion_ids(policy.processor, "red")[:-1])


def test_an_answer_that_goes_on_is_canonical_without_an_end(policy: Policy) -> None:
    """Many texts at once: with its end as `is_canonical` alone says, without one where the tokens are the text's own."""
    whole = [completion_ids(policy.processor, text) for text in ANSWERS]
    letters = [token for letter in "red" for token in completion_ids(policy.processor, letter)[:-1]]
    ends = end_ids(policy.model, policy.processor)
    rows = [
        *zip(ANSWERS, whole, strict=True),
        *((text, ids[:-1]) for text, ids in zip(ANSWERS, whole, strict=True)),
        ("red", letters),
        ("red", [*letters, *ends]),
        ("", ends),
        (ANSWERS[1], whole[0]),
    ]
    found = are_canonical(policy.processor, rows, ends=ends)
    assert found == [True] * 2 * len(ANSWERS) + [False, False, True, False]
    assert found[: len(ANSWERS)] == [is_canonical(policy.processor, ids, ends=ends) for ids in whole]
    assert are_canonical(policy.processor, [], ends=ends) == []


def test_trl_sees_the_same_tokens(policy: Policy) -> None:
    """TRL's vision collator turns `render_prompt` and `completion_text` into the tokens of `encode` and `completion_ids`."""
    chosen, rejected = ANSWERS[0], ANSWERS[1]
    prompt = render_prompt(policy.processor, "Describe the image.")
    row = {
        "prompt": prompt,
        "chosen": completion_text(policy.processor, chosen),
        "rejected": completion_text(policy.processor, rejected),
        "images": [picture(0)],
    }
    batch = DataCollatorForVisionPreference(processor=policy.processor)([row])
    alone = encode(policy.processor, [picture(0)], [prompt])
    for index, answer in enumerate((chosen, rejected)):
        ids = batch["input_ids"][index][batch["attention_mask"][index].bool()].tolist()
        assert ids == alone["input_ids"][0].tolist() + completion_ids(policy.processor, answer)
    assert torch.equal(batch["pixel_values"][0], alone["pixel_values"][0])


def test_the_end_is_the_templates(policy: Policy) -> None:
    """An answer ends with the token that ends a turn in the template, whatever the template writes after it."""
    expected = {"llava": "</s>", "idefics3": "<end_of_utterance>"}[policy.model.config.model_type]
    assert end_token(policy.processor) == expected
    assert completion_ids(policy.processor, "a")[-1] == policy.tokenizer.convert_tokens_to_ids(expected)


def test_a_template_without_an_end(tmp_path: Path) -> None:
    """If the template has no end token, as in LLaVA-1.5, the end is the tokenizer's end-of-sequence."""
    policy = load_policy(FAMILIES["llava"](tmp_path))
    policy.processor.chat_template = policy.processor.chat_template.replace("{{ eos_token }}", " ")
    assert end_token(policy.processor) == "</s>"


def test_banned_tokens(policy: Policy) -> None:
    """The image placeholder, padding, beginning-of-sequence and unknown ids are banned."""
    banned = set(banned_ids(policy.model, policy.processor))
    tokenizer = policy.tokenizer
    assert {policy.model.config.image_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id} <= banned
    assert len(tokenizer) in banned
    assert not banned & set(end_ids(policy.model, policy.processor))
    assert not banned & {token for answer in ANSWERS for token in completion_ids(policy.processor, answer)}


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_prompts(text: str) -> None:
    """The error for an empty instruction names the prompt."""
    with pytest.raises(UserError, match=r"prompt p-1: got .*, expected an instruction with words in it"):
        check_prompt(text, prompt_id="p-1")


def test_texts_that_spell_out_a_special_token(policy: Policy) -> None:
    """The characters of a placeholder or an end token in a text are refused by name; other brackets are allowed."""
    check_tokens(policy.processor, [("prompt p-1", "Is <b>this</b> an <img>?")])
    for token in ("<image>", end_token(policy.processor)):
        with pytest.raises(
            UserError, match=f"pair p-1: chosen: got the text {token}, expected a text without"
        ):
            check_tokens(policy.processor, [("prompt p-0", "Hi."), ("pair p-1: chosen", f"A{token}b")])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "chat template: got .*does not have a chat template"),
        ("{% for", "chat template: got unexpected 'end of template'"),
        ("{{ unheard_of(messages) }}", "chat template: got 'unheard_of' is undefined"),
        ("{{ messages[0].content[1].text + 1 }}", "chat template: got can only concatenate str"),
        ("{{ raise_exception('no\\nway') }}", "chat template: got no way, expected"),
        ("{{ ''.__class__.__mro__ }}", "chat template: got access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ messages[0].content[1].text }}", "chat template: got a prompt without an image placeholder"),
        ("<image> {{ bos_token }}", "chat template: got a prompt without the instruction"),
    ],
)  # fmt: skip
def test_a_broken_chat_template(tmp_path: Path, template: str | None, words: str) -> None:
    """The error for a template that is missing, fails or is incomplete names the model's folder and the next step."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "base"))
    policy.processor.chat_template = template
    with pytest.raises(UserError, match=words) as caught:
        render_prompt(policy.processor, "Describe the image.")
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'base'}: chat template")
    assert line.endswith(
        f"Next: put the model's chat_template.jinja into {tmp_path / 'base'}, then: dvc repro"
    )
    assert "\n" not in line


def test_a_template_without_the_assistants_text(tmp_path: Path) -> None:
    """A template that leaves out answers is refused: it does not show where an answer ends."""
    policy = load_policy(FAMILIES["llava"](tmp_path))
    policy.processor.chat_template = "{{ messages[0].content[1].text }} <image>"
    with pytest.raises(UserError, match="chat template: got an assistant's turn without its text"):
        end_token(policy.processor)
