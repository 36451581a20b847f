"""The shapes of real models, with random weights: nothing is downloaded, and speed and memory do not depend on weights.

The numbers are those of the published config.json files. `tiny` and `tiny-qwen` have the parts of the
other two at a size for tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """A model's class and configuration, and what its processor gives for one image."""

    config: Callable[[], Any]
    model: Any
    """Class of transformers."""
    image_tokens: int
    pixels: Callable[[int], dict[str, Tensor]]
    """The image inputs of so many prompts, random and in float32."""

    def build(self, *, device: str, dtype: torch.dtype, seed: int = 0) -> Any:
        """Return the model with random weights, made on the device."""
        torch.manual_seed(seed)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                model = self.model(self.config())
        finally:
            torch.set_default_dtype(before)
        return model.eval()


def llava_15_7b() -> Any:
    """Return the configuration of LLaVA-1.5-7B."""
    return hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        ),
        text_config=hf.LlamaConfig(
            vocab_size=32064,
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=32,
            max_position_embeddings=4096,
            pad_token_id=32001,
        ),
        image_token_index=32000,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def qwen_25_vl_7b() -> Any:
    """Return the configuration of Qwen2.5-VL-7B."""
    return hf.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
    )


def tiny() -> Any:
    """Return the configuration of a LLaVA of two layers, with four image tokens."""
    return hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=16,
        ),
        text_config=hf.LlamaConfig(
            vocab_size=320,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            initializer_range=0.2,
            pad_token_id=1,
        ),
        image_token_index=0,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def tiny_qwen() -> Any:
    """Return the configuration of a Qwen2.5-VL of two layers, with four image tokens."""
    return hf.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "bos_token_id": 2,
            "eos_token_id": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=3,
        video_token_id=4,
        vision_start_token_id=5,
        vision_end_token_id=6,
    )


def _square(side: int) -> Callable[[int], dict[str, Tensor]]:
    return lambda count: {"pixel_values": torch.randn(count, 3, side, side)}


def _patches(height: int, width: int) -> Callable[[int], dict[str, Tensor]]:
    """Return Qwen's image inputs: two equal frames of 14 x 14 patches, in three colours."""

    def make(count: int) -> dict[str, Tensor]:
        pixels = torch.randn(count * height * width, 3 * 2 * 14 * 14)
        return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, height, width]] * count)}

    return make


SHAPES = {
    "llava-1.5-7b": Shape(llava_15_7b, hf.LlavaForConditionalGeneration, 576, _square(336)),
    # A picture of 640 x 480 pixels: 46 x 34 patches, of which each four become one token.
    "qwen2.5-vl-7b": Shape(qwen_25_vl_7b, hf.Qwen2_5_VLForConditionalGeneration, 391, _patches(34, 46)),
    "tiny": Shape(tiny, hf.LlavaForConditionalGeneration, 4, _square(28)),
    "tiny-qwen": Shape(tiny_qwen, hf.Qwen2_5_VLForConditionalGeneration, 4, _patches(4, 4)),
}
"""By the name that `--shape` takes."""
