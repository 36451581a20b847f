"""Images that several rows of a batch share: each is encoded once, and all of its rows get the features.

A pair's two answers are about one picture. TRL gives the model each picture twice, once per answer. Here the model's own
`get_image_features` (vision tower and projector) runs on each picture once, and its forward pass takes the features in
the place of the pixels (`mm_encoder_outputs` of transformers). No model family is named: a model without that argument
gets its pictures twice.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from csrdata.policy.sides import NUMBERS

TEXT_INPUTS = {"input_ids", "attention_mask", "completion_mask", "token_type_ids", "mm_token_type_ids"}
"""Inputs that run along the tokens of a row; what else a batch holds for the model belongs to its images."""
_PIXELS = "pixel_values"


def takes_features(model: Any) -> bool:
    """Return whether a model, without a wrapper around it, takes image features in the place of images."""
    return (
        hasattr(model, "get_image_features")
        and "mm_encoder_outputs" in inspect.signature(model.forward).parameters
    )


@torch.no_grad()
def encode_images(model: Any, batch: Mapping[str, Tensor]) -> Any:
    """Return the model's output for the images of a batch: `pooler_output` holds the features of each image or crop.

    Args:
        model: without a wrapper around it; its vision tower and projector are frozen, so no gradient is kept.
        batch: holds the image inputs of each image once; other inputs are ignored.
    """
    return model.get_image_features(**_image_inputs(batch), return_dict=True)


def with_features(batch: Mapping[str, Tensor], features: Any, *, copies: int) -> dict[str, Any]:
    """Return a batch with image features in the place of its pixels, each image repeated for every copy of its row.

    Args:
        batch: `input_ids` and the other text inputs of copies * B rows, and the image inputs of B images, in the order of
            the first B rows.
        features: of `encode_images`.
        copies: how often the B rows are repeated, for example 2: chosen and rejected.
    """
    images = _image_inputs(batch)
    repeated = {
        name: torch.cat([value] * copies) if isinstance(value, Tensor) else value
        for name, value in images.items()
        if name != _PIXELS
    }
    found = {"pooler_output": _repeated(features.pooler_output, copies)}
    if (layers := getattr(features, "deepstack_features", None)) is not None:
        found["deepstack_features"] = [_repeated(layer, copies) for layer in layers]
    others = {name: value for name, value in batch.items() if name not in images}
    return {**others, **repeated, "mm_encoder_outputs": {"image": type(features)(**found)}}


def _image_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in TEXT_INPUTS.union(NUMBERS)}


def _repeated(features: Any, copies: int) -> Any:
    """Repeat the features of B images, which are a tensor along its first dimension or a sequence."""
    return torch.cat([features] * copies) if isinstance(features, Tensor) else list(features) * copies
