"""Tiny random models of 20 families: the real class with its real processor class, in the folder that transformers writes.

Two layers each, hidden size 64, images of a few dozen pixels. Everything else is as in the family: positions, crops,
image placeholders, tokens that end an answer. Chat templates are written from memory (`tests/family_templates.py`).

    folder = FAMILIES["qwen2_5_vl"](tmp_path / "policy")
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from PIL import Image, ImageDraw

from tests import family_templates as templates
from tests import family_tokenizers as tokenizers

SIDE = 56
"""Pixels of a tower's input."""
PATCH = 14
GRIDS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
"""Height and width of the shapes that a picture in several crops may have."""

Tokenizer = hf.PreTrainedTokenizerBase


def unlike_pictures(folder: Path, sizes: Sequence[tuple[int, int]] = ((160, 120), (90, 200))) -> list[Path]:
    """Save pictures of these widths and heights, of different contents, as PNG files `0.png`, `1.png`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (width, height) in enumerate(sizes):
        coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(index))
        smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0]
        image = Image.fromarray((smooth.permute(1, 2, 0) * 255).byte().numpy())
        draw = ImageDraw.Draw(image)
        draw.ellipse((width * 0.1, height * 0.1, width * 0.4, height * 0.4), fill=(200, 30, 30))
        draw.rectangle((width * 0.5, height * 0.55, width * 0.9, height * 0.9), fill=(20, 40, 200))
        paths.append(folder / f"{index}.png")
        image.save(paths[-1])
    return paths


def _save(folder: Path, model: Callable[[], Any], processor: Any, tokenizer: Tokenizer, *, ends: Sequence[str] = ()) -> Path:  # fmt: skip
    """Draw a model's weights from a fixed seed and save it with its processor; `ends` are the tokens that end an answer."""
    torch.manual_seed(0)
    made = model()
    eos: Any = [_id(tokenizer, end) for end in ends] if ends else tokenizer.eos_token_id
    made.generation_config = hf.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=eos, pad_token_id=tokenizer.pad_token_id
    )
    made.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _id(tokenizer: Tokenizer, token: str) -> int:
    found: int = tokenizer.convert_tokens_to_ids(token)
    return found


def _text(kind: Any, tokenizer: Tokenizer, **more: Any) -> Any:
    """Return a text model's config; its vocabulary is larger than the tokenizer's, as real ones are."""
    settings = {
        "vocab_size": len(tokenizer) + 64,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return kind(**settings | more)


def _vision(kind: Any, **more: Any) -> Any:
    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    return kind(**settings | more)


def _clip(**more: Any) -> Any:
    return _vision(hf.CLIPVisionConfig, projection_dim=16, **more)


# LLaVA


def _llava(folder: Path, tokenizer: Tokenizer, *, size: int = SIDE) -> Path:
    config = hf.LlavaConfig(
        vision_config=_clip(image_size=size),
        text_config=_text(hf.LlamaConfig, tokenizer),
        image_token_index=_id(tokenizer, "<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    processor = hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessor(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=templates.LLAVA,
    )
    return _save(folder, lambda: hf.LlavaForConditionalGeneration(config), processor, tokenizer)


def llava(folder: Path, *, size: int = SIDE) -> Path:
    """LLaVA-1.5: the tokenizer as transformers 5 writes it."""
    tokenizer = tokenizers.llama(["<image>", "<pad>"], extra_special_tokens={"image_token": "<image>"})
    return _llava(folder, tokenizer, size=size)


def llava_old(folder: Path) -> Path:
    """LLaVA-1.5: the tokenizer of the older folders."""
    return _llava(folder, tokenizers.old_llama(["<image>", "<pad>"]))


def llava_next(folder: Path, *, window: int | None = None) -> Path:
    """LLaVA-NeXT: a picture in several crops, Mistral, without a sliding window unless one is given in tokens."""
    tokenizer = tokenizers.llama(["<image>", "<pad>"], extra_special_tokens={"image_token": "<image>"})
    config = hf.LlavaNextConfig(
        vision_config=_clip(),
        text_config=_text(hf.MistralConfig, tokenizer, sliding_window=window),
        image_token_index=_id(tokenizer, "<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=GRIDS,
    )
    processor = hf.LlavaNextProcessor(
        image_processor=hf.LlavaNextImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size={"height": SIDE, "width": SIDE},
            image_grid_pinpoints=GRIDS,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=templates.LLAVA_NEXT,
    )
    return _save(folder, lambda: hf.LlavaNextForConditionalGeneration(config), processor, tokenizer)


def llava_next_window(folder: Path) -> Path:
    """LLaVA-NeXT with a sliding window: shorter than a prompt, in every layer of a Mistral without `layer_types`."""
    return llava_next(folder, window=24)


def llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision: SigLIP, several crops, Qwen2."""
    tokenizer = tokenizers.qwen(["<image>", "<video>"])
    config = hf.LlavaOnevisionConfig(
        vision_config=_vision(hf.SiglipVisionConfig),
        text_config=_text(hf.Qwen2Config, tokenizer, tie_word_embeddings=True),
        image_token_index=_id(tokenizer, "<image>"),
        video_token_index=_id(tokenizer, "<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=GRIDS,
        tie_word_embeddings=True,
    )
    size = {"height": SIDE, "width": SIDE}
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=GRIDS),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=templates.chatml("<image>\n"),
    )
    model = lambda: hf.LlavaOnevisionForConditionalGeneration(config)  # noqa: E731 - drawn after the seed is set
    return _save(folder, model, processor, tokenizer, ends=_QWEN_ENDS)


# Qwen-VL: image tokens share positions, in three dimensions

_QWEN_ENDS = ("<|im_end|>", "<|endoftext|>")
_QWEN_EXTRA = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def _qwen_vl(folder: Path, *, config: Any, model: Any, processor: Any, video: Any, vision: Mapping[str, Any], text: Mapping[str, Any], patch: int, rope: Mapping[str, Any], tied: bool) -> Path:  # fmt: skip
    tokenizer = tokenizers.qwen(_QWEN_EXTRA)
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6, **rope}
    settings = config(
        text_config=_text(dict, tokenizer, rope_parameters=rope, tie_word_embeddings=tied, **text),
        vision_config={"depth": 2, "num_heads": 2, "patch_size": patch, **vision},
        tie_word_embeddings=tied,
        image_token_id=_id(tokenizer, "<|image_pad|>"),
        video_token_id=_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=_id(tokenizer, "<|vision_end|>"),
    )
    images = hf.Qwen2VLImageProcessor(
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": (2 * patch) ** 2 * 4, "longest_edge": (2 * patch) ** 2 * 16},
    )
    whole = processor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=video(),
        chat_template=templates.chatml(_QWEN_IMAGE),
    )
    return _save(folder, lambda: model(settings), whole, tokenizer, ends=_QWEN_ENDS)


def qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL: dynamic resolution."""
    return _qwen_vl(
        folder,
        config=hf.Qwen2VLConfig,
        model=hf.Qwen2VLForConditionalGeneration,
        processor=hf.Qwen2VLProcessor,
        video=hf.Qwen2VLVideoProcessor,
        vision={"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        text={},
        patch=14,
        rope={},
        tied=True,
    )


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: a tower with windows."""
    return _qwen_vl(
        folder,
        config=hf.Qwen2_5_VLConfig,
        model=hf.Qwen2_5_VLForConditionalGeneration,
        processor=hf.Qwen2_5_VLProcessor,
        video=hf.Qwen2VLVideoProcessor,
        vision={
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text={},
        patch=14,
        rope={},
        tied=False,
    )


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: interleaved positions, features of the tower's inner layers added to the text model's."""
    return _qwen_vl(
        folder,
        config=hf.Qwen3VLConfig,
        model=hf.Qwen3VLForConditionalGeneration,
        processor=hf.Qwen3VLProcessor,
        video=hf.Qwen3VLVideoProcessor,
        vision={
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        text={"head_dim": 16},
        patch=16,
        rope={"mrope_interleaved": True},
        tied=True,
    )


# Idefics3 and SmolVLM


def _idefics(folder: Path, *, config: Any, model: Any, images: Any, processor: Any, extra: Sequence[str], split: bool, **more: Any) -> Path:  # fmt: skip
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = tokenizers.gpt2(
        ["<image>", "<fake_token_around_image>", "<global-img>", *extra, *rows],
    )
    settings = config(
        vision_config=_vision(dict),
        text_config=_text(hf.LlamaConfig, tokenizer, tie_word_embeddings=True),
        image_token_id=_id(tokenizer, "<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
    )
    whole = processor(
        image_processor=images(
            do_image_splitting=split,
            size={"longest_edge": 2 * SIDE},
            max_image_size={"longest_edge": SIDE},
            return_row_col_info=True,
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=templates.SMOLVLM,
        **more,
    )
    return _save(folder, lambda: model(settings), whole, tokenizer)


def idefics3(folder: Path, *, split: bool = True) -> Path:
    """Idefics3: a picture in several crops unless `split` is false; SmolVLM of the first generation has this class."""
    return _idefics(
        folder,
        config=hf.Idefics3Config,
        model=hf.Idefics3ForConditionalGeneration,
        images=hf.Idefics3ImageProcessor,
        processor=hf.Idefics3Processor,
        extra=[],
        split=split,
    )


def idefics3_whole(folder: Path) -> Path:
    """Idefics3: a picture whole."""
    return idefics3(folder, split=False)


def smolvlm(folder: Path) -> Path:
    """SmolVLM: the second generation, whose processor needs the package num2words."""
    edge = {"longest_edge": SIDE}
    video = hf.SmolVLMVideoProcessor(
        size=edge, max_image_size=edge, video_sampling={"max_frames": 4, "fps": 1, "video_size": edge}
    )
    return _idefics(
        folder,
        config=hf.SmolVLMConfig,
        model=hf.SmolVLMForConditionalGeneration,
        images=hf.SmolVLMImageProcessor,
        processor=hf.SmolVLMProcessor,
        extra=["<video>"],
        split=True,
        video_processor=video,
    )


# InternVL


def internvl(folder: Path, *, crops: bool = True) -> Path:
    """InternVL 3: a picture in several crops unless `crops` is false."""
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = tokenizers.qwen(list(names.values()), extra_special_tokens=names)
    config = hf.InternVLConfig(
        vision_config=_vision(hf.InternVLVisionConfig, image_size=[SIDE, SIDE], patch_size=[PATCH, PATCH]),
        text_config=_text(hf.Qwen2Config, tokenizer),
        image_token_id=_id(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    size = {"height": SIDE, "width": SIDE}
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(
            size=size, crop_to_patches=crops, min_patches=1, max_patches=4
        ),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=templates.chatml("<IMG_CONTEXT>\n"),
    )
    model = lambda: hf.InternVLForConditionalGeneration(config)  # noqa: E731 - drawn after the seed is set
    return _save(folder, model, processor, tokenizer, ends=_QWEN_ENDS)


def internvl_whole(folder: Path) -> Path:
    """InternVL 3: a picture whole."""
    return internvl(folder, crops=False)


# PaliGemma and Gemma 3


def paligemma(folder: Path, *, template: str | None = None) -> Path:
    """PaliGemma: without a chat template, as it was released; attention in both directions over the prompt."""
    tokenizer = tokenizers.gemma(["<image>"], extra_special_tokens={"image_token": "<image>"})
    images = hf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = (SIDE // PATCH) ** 2
    processor = hf.PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer, chat_template=template)
    config = hf.PaliGemmaConfig(
        vision_config=_vision(hf.SiglipVisionConfig),
        text_config=_text(hf.GemmaConfig, tokenizer, head_dim=16),
        image_token_index=_id(tokenizer, "<image>"),
        projection_dim=64,
        hidden_size=64,
        vocab_size=len(tokenizer) + 64,
    )
    return _save(folder, lambda: hf.PaliGemmaForConditionalGeneration(config), processor, tokenizer)


def paligemma_template(folder: Path) -> Path:
    """PaliGemma with a chat template: one that a user added."""
    return paligemma(folder, template=templates.PALIGEMMA)


def gemma3(folder: Path, *, window: int = 512) -> Path:
    """Gemma 3: attention in both directions over an image, one layer of two with a sliding window in tokens."""
    names = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    tokenizer = tokenizers.gemma(
        ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"],
        extra_special_tokens=names,
    )
    processor = hf.Gemma3Processor(
        image_processor=hf.Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=templates.GEMMA,
    )
    text = _text(
        hf.Gemma3TextConfig,
        tokenizer,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = hf.Gemma3Config(
        vision_config=_vision(hf.SiglipVisionConfig),
        text_config=text,
        mm_tokens_per_image=4,
        image_token_index=_id(tokenizer, "<image_soft_token>"),
        boi_token_index=_id(tokenizer, "<start_of_image>"),
        eoi_token_index=_id(tokenizer, "<end_of_image>"),
    )
    model = lambda: hf.Gemma3ForConditionalGeneration(config)  # noqa: E731 - drawn after the seed is set
    return _save(folder, model, processor, tokenizer, ends=["<eos>", "<end_of_turn>"])


def gemma3_window(folder: Path) -> Path:
    """Gemma 3: the sliding window shorter than a prompt."""
    return gemma3(folder, window=16)


# Mllama


def mllama(folder: Path) -> Path:
    """Llama 3.2 Vision: layers that attend to the image; the image token has no row in the output layer."""
    names = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|python_tag|>",
        "<|finetune_right_pad_id|>",
    ]
    # In the released folders the image token is 128256, and the output layer has 128256 rows.
    tokenizer = tokenizers.fast(
        names,
        last=["<|image|>"],
        bos_token=names[0],
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
    )
    text = _text(
        hf.MllamaTextConfig,
        tokenizer,
        vocab_size=len(tokenizer) - 1,
        num_hidden_layers=4,
        cross_attention_layers=[1, 3],
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )
    vision = hf.MllamaVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_global_layers=1,
        attention_heads=2,
        intermediate_size=64,
        vision_output_dim=64,
        image_size=SIDE,
        patch_size=PATCH,
        max_num_tiles=4,
        intermediate_layers_indices=[0],
        supported_aspect_ratios=[[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    )
    config = hf.MllamaConfig(
        vision_config=vision, text_config=text, image_token_index=_id(tokenizer, "<|image|>")
    )
    processor = hf.MllamaProcessor(
        image_processor=hf.MllamaImageProcessor(size={"height": SIDE, "width": SIDE}, max_image_tiles=4),
        tokenizer=tokenizer,
        chat_template=templates.LLAMA_3,
    )
    ends = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    return _save(folder, lambda: hf.MllamaForConditionalGeneration(config), processor, tokenizer, ends=ends)


# Pixtral and Mistral 3

_MISTRAL_NAMES = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<pad>"]


def _pixtral(folder: Path, config: Any, model: Any, *, patch: int, merge: int, **more: Any) -> Path:
    tokenizer = tokenizers.fast(
        _MISTRAL_NAMES, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    settings = config(
        vision_config=_vision(hf.PixtralVisionConfig, image_size=2 * SIDE, head_dim=16),
        text_config=_text(hf.MistralConfig, tokenizer, head_dim=16, sliding_window=None),
        image_token_index=_id(tokenizer, "[IMG]"),
        vision_feature_layer=-1,
        **more,
    )
    processor = hf.PixtralProcessor(
        image_processor=hf.PixtralImageProcessor(
            size={"longest_edge": 2 * SIDE}, patch_size={"height": patch, "width": patch}
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        spatial_merge_size=merge,
        chat_template=templates.PIXTRAL,
    )
    return _save(folder, lambda: model(settings), processor, tokenizer)


def pixtral(folder: Path) -> Path:
    """Pixtral: LLaVA's class, dynamic resolution, a token at the end of each row of patches."""
    return _pixtral(
        folder,
        hf.LlavaConfig,
        hf.LlavaForConditionalGeneration,
        patch=PATCH,
        merge=1,
        vision_feature_select_strategy="full",
    )


def mistral3(folder: Path) -> Path:
    """Mistral Small 3.1: Pixtral's tower, patches merged in squares."""
    return _pixtral(
        folder,
        hf.Mistral3Config,
        hf.Mistral3ForConditionalGeneration,
        patch=2 * PATCH,
        merge=2,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )


# GLM


def glm4v(folder: Path) -> Path:
    """GLM-4.1V: positions as Qwen2-VL's; an answer ends with one of three tokens, and the template names none."""
    names = [
        "<|endoftext|>",
        "[gMASK]",
        "<sop>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
        "<|video|>",
    ]
    tokenizer = tokenizers.fast(names, eos_token=names[0], pad_token=names[0])
    rope = {
        "rope_type": "default",
        "mrope_section": [2, 3, 3],
        "rope_theta": 1e4,
        "partial_rotary_factor": 1.0,
    }
    config = hf.Glm4vConfig(
        text_config=_text(dict, tokenizer, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "image_size": 2 * SIDE,
            "patch_size": PATCH,
            "out_hidden_size": 64,
            "intermediate_size": 64,
        },
        image_token_id=_id(tokenizer, "<|image|>"),
        video_token_id=_id(tokenizer, "<|video|>"),
        image_start_token_id=_id(tokenizer, "<|begin_of_image|>"),
        image_end_token_id=_id(tokenizer, "<|end_of_image|>"),
        video_start_token_id=_id(tokenizer, "<|begin_of_video|>"),
        video_end_token_id=_id(tokenizer, "<|end_of_video|>"),
    )
    processor = hf.Glm4vProcessor(
        image_processor=hf.Glm4vImageProcessor(
            patch_size=PATCH,
            merge_size=2,
            temporal_patch_size=2,
            size={"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 32},
        ),
        tokenizer=tokenizer,
        video_processor=hf.Glm4vVideoProcessor(),
        chat_template=templates.GLM,
    )
    model = lambda: hf.Glm4vForConditionalGeneration(config)  # noqa: E731 - drawn after the seed is set
    return _save(folder, model, processor, tokenizer, ends=["<|endoftext|>", "<|user|>", "<|observation|>"])


FAMILIES: Mapping[str, Callable[[Path], Path]] = {
    build.__name__: build
    for build in (
        llava,
        llava_old,
        llava_next,
        llava_next_window,
        llava_onevision,
        qwen2_vl,
        qwen2_5_vl,
        qwen3_vl,
        idefics3,
        idefics3_whole,
        smolvlm,
        internvl,
        internvl_whole,
        paligemma,
        paligemma_template,
        gemma3,
        gemma3_window,
        mllama,
        pixtral,
        mistral3,
        glm4v,
    )
}
"""Each saves a policy into a folder and returns the folder; twice the same bytes."""
