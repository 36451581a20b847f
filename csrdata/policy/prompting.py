"""The conversion of instructions and answers to tokens, for generation, evaluation and training alike.

A prompt is the model's chat template applied to one user turn, image first, up to the start of the answer. An answer is kept
*verbatim*: its text is what was decoded after the prompt, leading white space included, and its tokens are those of
`text + end`, where `end` is the token that ends an assistant's turn. The template does not render the assistant's turn:
templates strip answers, put a space before them, or write a line break after the end ("Assistant: a cat<end_of_utterance>\n"
in SmolVLM's), so training would see tokens that were never generated. Prompt and answer are tokenised separately and without
adding special tokens, as in TRL's collator. Rows of plain strings (`render_prompt`, `completion_text`) therefore reach
training unchanged.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from csrdata.errors import UserError

Message = dict[str, object]
"""One message of a chat, in the form that chat templates read: `role` and `content`."""

_PROBE = "csrdata-probe"
"""A placeholder answer; `end_token` reads what the template writes after it."""


def render_prompt(processor: ProcessorMixin, text: str) -> str:
    """Return an instruction as the model's prompt: one image placeholder, the text and the start of the assistant's turn.

    The string contains all special tokens, including beginning-of-sequence if the model uses one: tokenise it with
    `add_special_tokens=False`.

    Example: `render_prompt(processor, "Describe it.")` -> `"<s>USER: <image>\\nDescribe it. ASSISTANT:"`

    Raises:
        UserError: the chat template is missing, fails, or leaves out the image or the text.
    """
    prompt = _chat(processor, [_user(text)], add_generation_prompt=True)
    if text.strip() not in prompt:
        raise _bad_template(processor, "a prompt without the instruction")
    written = [prompt.count(token) for token in _placeholders(processor)]
    if not any(written):
        raise _bad_template(processor, "a prompt without an image placeholder")
    if max(written) > 1:
        raise _bad_template(processor, f"a prompt with {max(written)} image placeholders")
    return _opening(_tokenizer(processor), prompt) + prompt


def encode(processor: ProcessorMixin, images: Sequence[Image.Image], prompts: Sequence[str]) -> BatchFeature:
    """Turn B images and B rendered prompts into a model's inputs, padded on the left.

    Returns:
        `input_ids` and `attention_mask` [B, L], and the model's image inputs.
    """
    inputs: BatchFeature = processor(
        images=[[image] for image in images],
        text=list(prompts),
        padding=True,
        padding_side="left",
        return_tensors="pt",
        add_special_tokens=False,
    )
    return inputs


def with_answers(inputs: Mapping[str, Any], ids: Tensor, mask: Tensor, *, image_token: int) -> dict[str, Any]:
    """Return the inputs of B encoded prompts with an answer behind each: whatever runs along a prompt runs on.

    Token types mark the image (an answer's tokens get 0) or, where the image's own are 0, the segment (an answer's get 1).
    A mask of what a token sees of the image goes on as it is at the prompt's last token.

    Args:
        inputs: `input_ids` and `attention_mask` [B, L], and whatever else the model wants; labels are left out.
        ids, mask: the answers [B, T], padded on the right.
        image_token: the model's `image_token_id`.
    """
    prompt: Tensor = inputs["input_ids"]
    at_image = prompt == image_token

    def extended(name: str, value: Any) -> Any:
        if name in {"input_ids", "attention_mask"}:
            return torch.cat([value, ids if name == "input_ids" else mask], dim=1)
        if not isinstance(value, Tensor) or value.shape[:2] != prompt.shape or value.is_floating_point():
            return value
        if value.dim() > 2:
            return torch.cat([value, value[:, -1:].repeat_interleave(ids.shape[1], dim=1)], dim=1)
        is_segment = name == "token_type_ids" and not bool(value[at_image].any())
        return torch.cat([value, torch.full_like(ids, int(is_segment)).to(value)], dim=1)

    return {name: extended(name, value) for name, value in inputs.items() if name != "labels"}


def completion_text(
    processor: ProcessorMixin, answer: str, *, end: int | None = None, complete: bool = True
) -> str:
    """Return the completion for training: the answer, verbatim, and the token that ends the turn.

    Args:
        processor: the model's.
        answer: its text, or that of its last part; empty for the end alone.
        end: the token that ended it when it was generated; None for `end_token`.
        complete: whether it ended; a sentence inside an answer has no end.
    """
    if not complete:
        return answer
    return answer + (end_token(processor) if end is None else str(_tokenizer(processor).decode([end])))


def text_ids(processor: ProcessorMixin, text: str) -> list[int]:
    """Return the token ids of a text as an answer begins with them: no special token is added."""
    ids: list[int] = _tokenizer(processor)(text, add_special_tokens=False)["input_ids"]
    return ids


def completion_ids(
    processor: ProcessorMixin,
    answer: str,
    *,
    context: str = "",
    end: int | None = None,
    complete: bool = True,
) -> list[int]:
    """Return a completion's token ids as training sees them, including the end; see `completion_text`.

    A tokenizer may read a text differently at the start of an answer and inside it (SentencePiece puts a space before the
    first word). So context and completion are tokenized together, and the context's tokens are left out.

    Args:
        context: the beginning of the answer, which `answer` continues; `is_boundary` says whether they can be told apart.
    """
    completion = completion_text(processor, answer, end=end, complete=complete)
    return text_ids(processor, context + completion)[len(text_ids(processor, context)) :]


def is_boundary(processor: ProcessorMixin, context: str, completion: str) -> bool:
    """Return whether a context's tokens stay the same when a completion follows: no token spans both.

    Example: with the tokens "a", "b" and "ab", `is_boundary(processor, "a", "b")` -> False
    """
    begun = text_ids(processor, context)
    return text_ids(processor, context + completion)[: len(begun)] == begun


def answer_text(processor: ProcessorMixin, token_ids: Sequence[int]) -> str:
    """Return the text of generated tokens, with or without the end: white space is kept, special tokens are left out."""
    text = _tokenizer(processor).decode(
        list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text)


def is_canonical(
    processor: ProcessorMixin, token_ids: Sequence[int], *, ends: Sequence[int] | None = None
) -> bool:
    """Return whether tokenising the answer's text gives the generated tokens again, so that training sees the same tokens.

    Args:
        processor: the model's.
        token_ids: the generated tokens of the whole answer, including the end.
        ends: the tokens that may end it (`end_ids`): a model may list several; None for `end_token` alone.
    """
    text = answer_text(processor, token_ids)
    end = token_ids[-1] if ends is not None and token_ids and token_ids[-1] in ends else None
    return completion_ids(processor, text, end=end) == list(token_ids)


def are_canonical(
    processor: ProcessorMixin, answers: Sequence[tuple[str, Sequence[int]]], *, ends: Collection[int]
) -> list[bool]:
    """Return, for each beginning of an answer, whether tokenising its text gives the generated tokens again.

    It is `is_canonical` for many texts at once, and for answers that have not ended: their text has no end behind it.

    Args:
        processor: the model's.
        answers: text and generated tokens of each; the last token is an end, or the answer goes on.
        ends: the tokens that may end it (`end_ids`).
    """
    if not answers:
        return []
    tokenizer = _tokenizer(processor)
    written = {end: str(tokenizer.decode([end])) for end in ends}
    texts = [text + (written.get(ids[-1], "") if ids else "") for text, ids in answers]
    again: list[list[int]] = tokenizer(
        texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    return [own == list(ids) for own, (_, ids) in zip(again, answers, strict=True)]


def end_token(processor: ProcessorMixin) -> str:
    """Return the token that ends an assistant's turn: the template's, or the tokenizer's end-of-sequence if it has none.

    Example: "Assistant: a cat<end_of_utterance>\\n" -> `<end_of_utterance>`; "ASSISTANT: a cat " -> `</s>`

    Raises:
        UserError: the chat template is missing, fails, or leaves out the answer.
    """
    tokenizer = _tokenizer(processor)
    rest = _around_answer(processor)[1].lstrip()
    own = [token for token in _special_tokens(tokenizer) if rest.startswith(token)]
    if own:
        return max(own, key=len)
    return str(tokenizer.eos_token)


def answer_opening(processor: ProcessorMixin) -> str:
    """Return the white space that the template writes between the opening of the assistant's turn and an answer.

    A generated answer begins with it, a text from elsewhere does not. Empty if the template writes none, or something else.

    Example: "ASSISTANT: a cat" after "ASSISTANT:" -> `" "`; "assistant\\na cat" after "assistant\\n" -> `""`

    Raises:
        UserError: the chat template is missing, fails, or leaves out the answer.
    """
    prompt = _chat(processor, [_user("?")], add_generation_prompt=True)
    before = _around_answer(processor)[0]
    written = before[len(prompt) :] if before.startswith(prompt) else ""
    return written if written.isspace() else ""


def _around_answer(processor: ProcessorMixin) -> tuple[str, str]:
    """Return what the template writes before and after the answer of a turn."""
    messages: list[Message] = [
        _user("?"),
        {"role": "assistant", "content": [{"type": "text", "text": _PROBE}]},
    ]
    before, found, after = _chat(processor, messages).rpartition(_PROBE)
    if not found:
        raise _bad_template(processor, "an assistant's turn without its text")
    return before, after


def end_ids(model: PreTrainedModel, processor: ProcessorMixin) -> list[int]:
    """Return the ids of the tokens that end an answer: those of the model's generation config, and `end_token`."""
    config = model.generation_config
    listed = config.eos_token_id if config is not None else None
    ids = listed if isinstance(listed, list) else [] if listed is None else [listed]
    return sorted({*ids, _id(processor, end_token(processor))})


def banned_ids(model: PreTrainedModel, processor: ProcessorMixin) -> list[int]:
    """Return the ids that no answer may contain: special tokens that do not end an answer, and ids without a token.

    These are the image placeholder (with it in an answer, encoding the answer again would fail), padding,
    beginning-of-sequence and similar tokens, and the ids of a padded vocabulary that the tokenizer does not know.
    """
    tokenizer = _tokenizer(processor)
    special = {_id(processor, token) for token in _special_tokens(tokenizer)} | {model.config.image_token_id}
    rows = model.config.get_text_config().vocab_size
    unknown = range(len(tokenizer), rows)
    # A token may have no row in the output layer, as an image placeholder behind the vocabulary: it is never generated.
    within = {token for token in special | set(unknown) if token < rows}
    return sorted(within - set(end_ids(model, processor)))


def context_limit(model: Any) -> int | None:
    """Return the most tokens that a model has positions for; None where its config does not say."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit


def check_prompt(text: str, *, prompt_id: str) -> None:
    """Validate that an instruction is not empty.

    Raises:
        UserError: the text is empty or only white space.
    """
    if not text.strip():
        do = "give it a text or leave it out, then: dvc repro"
        raise UserError(f"prompt {prompt_id}", got=text, expected="an instruction with words in it", do=do)


def check_tokens(processor: ProcessorMixin, texts: Iterable[tuple[str, str]]) -> None:
    """Validate that no text contains one of the model's special tokens as characters, such as the image placeholder.

    The tokenizer would read these characters as the token: an image that does not exist, or an end in the middle of a turn.

    Args:
        processor: the model's processor.
        texts: the place of each text, with which the error begins (`prompt p-1`), and the text: an instruction or an answer.

    Raises:
        UserError: naming the first such token.
    """
    special = special_texts(processor)
    for place, text in texts:
        inside = next((token for token in special if token in text), None)
        if inside is not None:
            expected = f"a text without the special tokens of {_folder(processor)}"
            do = "reword it or leave it out, then: dvc repro"
            raise UserError(place, got=f"the text {inside}", expected=expected, do=do)


def special_texts(processor: ProcessorMixin) -> list[str]:
    """Return the special tokens of the tokenizer and the placeholders of the processor, as text, sorted."""
    found = {*_special_tokens(_tokenizer(processor)), *_placeholders(processor)}
    return sorted(token for token in found if token)


def _placeholders(processor: ProcessorMixin) -> set[str]:
    """Return the values of the processor's `*_token` attributes: `image_token`, and more image tokens in some families."""
    return {str(value) for name, value in vars(processor).items() if name.endswith("_token") and value}


def _chat(processor: Any, messages: Sequence[Message], **options: bool) -> str:
    """Render messages with the model's chat template. It is untrusted; transformers runs it in a sandbox."""
    try:
        return str(processor.apply_chat_template(list(messages), tokenize=False, **options))
    except Exception as error:  # noqa: BLE001 - an untrusted template can raise any error
        raise _bad_template(processor, str(error) or type(error).__name__) from None


def _bad_template(processor: ProcessorMixin, got: str) -> UserError:
    folder = _folder(processor)
    expected = "a template for a user's turn with one image and a text"
    do = f"put the model's chat_template.jinja into {folder}, then: dvc repro"
    return UserError(f"{folder}: chat template", got=got, expected=expected, do=do)


def _folder(processor: ProcessorMixin) -> str:
    """Return where a processor was loaded from, for errors."""
    return str(_tokenizer(processor).name_or_path) or "the policy"


def _user(text: str) -> Message:
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}


def _opening(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Return beginning-of-sequence if the tokenizer adds it and the template left it out, else an empty string."""
    opening = tokenizer.bos_token
    if opening is None or prompt.startswith(opening):
        return ""
    return opening if tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else ""


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterable[str]:
    """Return every special token, including those without a named role (`<row_1_col_1>`)."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(added | set(tokenizer.all_special_tokens))


def _id(processor: ProcessorMixin, token: str) -> int:
    token_id: Any = _tokenizer(processor).convert_tokens_to_ids(token)
    return int(token_id)


def _tokenizer(processor: Any) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = processor.tokenizer
    return tokenizer
