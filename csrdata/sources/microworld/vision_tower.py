"""Convert open_clip's vision tower to the weights of transformers' `CLIPVisionModel`."""

from __future__ import annotations

from typing import Any

import torch


def tower_weights(clip: Any) -> dict[str, torch.Tensor]:
    """Return the state of a `CLIPVisionModel` that computes the same as the vision tower of an open_clip `CLIP`.

    The last projection into the shared embedding space is left out, because a LLaVA does not use it.
    """
    source = clip.visual.state_dict()
    weights = {
        "embeddings.class_embedding": source["class_embedding"],
        "embeddings.patch_embedding.weight": source["conv1.weight"],
        "embeddings.position_embedding.weight": source["positional_embedding"],
    }
    for ours, theirs in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        weights |= {f"{ours}.{part}": source[f"{theirs}.{part}"] for part in ("weight", "bias")}
    for number in range(len(clip.visual.transformer.resblocks)):
        block, layer = f"transformer.resblocks.{number}", f"encoder.layers.{number}"
        for part in ("weight", "bias"):
            joint = source[f"{block}.attn.in_proj_{part}"].chunk(3)
            for name, piece in zip(("q_proj", "k_proj", "v_proj"), joint, strict=True):
                weights[f"{layer}.self_attn.{name}.{part}"] = piece
            for ours, theirs in (
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                weights[f"{layer}.{ours}.{part}"] = source[f"{block}.{theirs}.{part}"]
    return {key: value.detach().clone() for key, value in weights.items()}
