"""The policy's tokenizer, chat template and processor.

Tokens: byte-level BPE, trained on the microworld's sentences, so that each of their words is one token; any other text can
be tokenised too. Template: "USER: <image>\\nDescribe this image. ASSISTANT:", then the answer: " There is ...</s>". The
space is part of the answer's first token, as usual in byte-level BPE. Prompt and answer therefore have the same ids whether
they are tokenised apart (as in preference training) or together, and generation starts where training did.
"""

from __future__ import annotations

import itertools
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

from csrdata.sources.microworld.drawing import IMAGE_SIZE
from csrdata.sources.microworld.language import (
    COLOUR_QUESTION,
    DESCRIBE_PROMPTS,
    JUDGE_ANSWERS,
    NO,
    PLACE_PHRASES,
    PLACE_QUESTION,
    QUESTION_PATTERNS,
    YES,
    as_answer,
    judge_prompt,
    with_article,
)
from csrdata.sources.microworld.parsing import all_sentences
from csrdata.sources.microworld.scorer_training import PIXEL_MEAN, PIXEL_STD
from csrdata.sources.microworld.world import COLOURS, SHAPES

PAD, BEGIN, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
HIGHEST_VOCABULARY = 2048
"""The most entries, 1 or more; BPE finds no more merges at about half of it."""
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{% if not loop.first %} {% endif %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %} ASSISTANT:"
    "{% elif message['role'] == 'assistant' %}"
    " {% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{{ eos_token }}"
    "{% else %}{{ raise_exception('a message is from user or assistant, not ' + message['role']) }}"
    "{% endif %}{% endfor %}"
)


def build_tokenizer() -> Any:
    """Return the policy's tokenizer, trained on all sentences and requests of the microworld; always the same."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=HIGHEST_VOCABULARY,
            special_tokens=[PAD, BEGIN, END, IMAGE],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
    )


def build_processor(tokenizer: Any, *, patch: int) -> Any:
    """Return the policy's processor; `patch`: side of the vision tower's patches, pixels."""
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=list(PIXEL_MEAN),
        image_std=list(PIXEL_STD),
    )
    return LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=patch,
        # The class token counts as an additional image token; the strategy "default" removes it.
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def user_message(text: str) -> dict[str, Any]:
    """Return the user's message: one image and a request, as typed content."""
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}


def prompt_text(processor: Any, request: str) -> str:
    """Return the prompt up to the start of the answer."""
    return str(
        processor.apply_chat_template([user_message(request)], add_generation_prompt=True, tokenize=False)
    )


def next_prompt_text(processor: Any, request: str) -> str:
    """Return the text between an answer and the next answer of the same conversation, which holds the next request."""
    talk = [user_message("?"), {"role": "assistant", "content": "."}, {"role": "user", "content": request}]
    whole = str(processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False))
    return whole[whole.index(END) + len(END) :]


def answer_text(answer: str) -> str:
    """Return the text after the prompt, as the template writes it."""
    return f" {answer}{END}"


def _corpus() -> list[str]:
    """Return texts with every word in each position that it can have: with and without a space before it."""
    sentences = list(all_sentences())
    asked = [pattern.format(shape=with_article(shape)) for pattern in QUESTION_PATTERNS for shape in SHAPES]
    asked += [
        pattern.format(shape=shape) for pattern in (PLACE_QUESTION, COLOUR_QUESTION) for shape in SHAPES
    ]
    looked_up = [as_answer(words) for words in (*COLOURS, *itertools.chain(*PLACE_PHRASES.values()))]
    requests = [*DESCRIBE_PROMPTS, *asked, judge_prompt(sentences[0], sentences[-1])]
    prompts = [f"USER: {request} ASSISTANT:" for request in requests]
    frames = [f"USER: \n{request} ASSISTANT:" for request in requests]
    answers = [f" {text}" for text in (YES, NO, *JUDGE_ANSWERS, *looked_up, *sentences)]
    return [*prompts * 8, *frames * 8, *requests * 8, *answers, *sentences]
