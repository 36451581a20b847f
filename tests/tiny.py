"""Tiny, randomly initialised vision-language models of two families, in the folders that transformers writes.

Everything but the size is real: processor, chat template, tokenizer, image placeholders, generation config. Images are
28 px: 4 image tokens each. The weights are drawn wide enough that different images and texts give different answers.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SIDE = 28
"""Pixels of an image's side."""

IMAGE_TOKENS = 4

LLAVA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %} {% endif %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)

SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""SmolVLM's own, which ends a turn with a line break behind the end token."""

CORPUS = (
    "USER: Describe the image. ASSISTANT: There is a red circle at the top left.",
    "Assistant: A blue square sits in the lower right corner. In the middle I see a green star.",
    "Is there a triangle? Yes. No, there is none. What do you see in this picture?",
)


def tiny_llava(folder: Path, *, seed: int = 0, width: int = 64) -> Path:
    """Save a LLaVA: CLIP tower, projector, Llama; its turns end with `</s>`.

    Its four heads have a quarter of `width` each.
    """
    tokenizer = _tokenizer(["<pad>", "<s>", "</s>", "<image>"], bos="<s>", eos="</s>")
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=14,
            projection_dim=16,
        ),
        text_config=_text_config(tokenizer, width=width),
        image_token_id=image_token,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    torch.manual_seed(seed)
    return _save(folder, LlavaForConditionalGeneration(config), processor, tokenizer)


def tiny_smolvlm(folder: Path, *, seed: int = 0) -> Path:
    """Save a SmolVLM of the first generation (architecture Idefics3); its turns end with `<end_of_utterance>`."""
    specials = [
        "<|im_start|>",
        "<|im_end|>",
        "<end_of_utterance>",
        "<image>",
        "<fake_token_around_image>",
        "<global-img>",
    ]
    tokenizer = _tokenizer(specials, bos="<|im_start|>", eos="<end_of_utterance>", pad="<|im_end|>")
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 7,
        },
        text_config=_text_config(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            do_image_splitting=False,
            size={"longest_edge": SIDE},
            max_image_size={"longest_edge": SIDE},
            return_row_col_info=True,
        ),
        tokenizer=tokenizer,
        image_seq_len=IMAGE_TOKENS,
        chat_template=SMOLVLM_TEMPLATE,
    )
    torch.manual_seed(seed)
    return _save(folder, Idefics3ForConditionalGeneration(config), processor, tokenizer)


FAMILIES = {"llava": tiny_llava, "smolvlm": tiny_smolvlm}


def picture(seed: int) -> Image.Image:
    """Return a picture of coloured noise; equal seeds give equal pictures."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def pictures(folder: Path, count: int) -> list[Path]:
    """Save `count` different pictures as PNG files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(count)]
    for index, path in enumerate(paths):
        picture(index).save(path)
    return paths


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a small byte-level tokenizer, for models that need one in their folder."""
    return _tokenizer(["<pad>", "<s>", "</s>"], bos="<s>", eos="</s>")


def _tokenizer(specials: Iterable[str], *, bos: str, eos: str, pad: str = "<pad>") -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )


def _text_config(tokenizer: PreTrainedTokenizerFast, *, width: int = 64) -> LlamaConfig:
    # Room for the tokens that a processor adds after this: a vocabulary larger than the tokenizer, as real ones are.
    return LlamaConfig(
        vocab_size=len(tokenizer) + 64,
        hidden_size=width,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _save(
    folder: Path,
    model: PreTrainedModel,
    processor: LlavaProcessor | Idefics3Processor,
    tokenizer: PreTrainedTokenizerFast,
) -> Path:
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
