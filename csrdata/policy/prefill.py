"""Encode prompts once: their keys and values, the logits behind them, and the position where an answer begins.

A model says itself how it places tokens. The image tokens of Qwen-VL share positions on three axes, PaliGemma counts
from one, most models count every token. Whatever positions a model gives its decoder are taken, and the token behind a
prompt continues from the highest of them; where a model gives none, tokens are counted. No family is named here.

An answer behind a prompt is encoded as in training: `with_answers` says how masks and token types go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from csrdata.policy.prompting import with_answers


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What P prompts leave behind, apart from the cache."""

    logits: Tensor
    """Of the token behind each prompt, [P, V]."""
    following: Tensor
    """The position of that token, [P]."""
    axes: int | None
    """The number of axes that the model counts positions on; None: one, without a dimension for it."""

    def place(self, positions: Tensor) -> Tensor:
        """Return the positions [rows] of one token of each row as the decoder takes them: [rows, 1] or [axes, rows, 1]."""
        return placed(positions, self.axes)


def placed(positions: Tensor, axes: int | None) -> Tensor:
    """Return the positions [rows] of one token of each row in a decoder's form: [rows, 1] or [axes, rows, 1]."""
    return positions[:, None] if axes is None else positions[None, :, None].expand(axes, -1, -1)


def prefill(model: PreTrainedModel, inputs: Mapping[str, Tensor], cache: Cache) -> Prefilled:
    """Encode prompts into an empty cache.

    Args:
        model: any image-text-to-text model.
        inputs: the processor's output: `input_ids` and `attention_mask` [P, L] padded on the left, and the image inputs.
        cache: is filled.

    Raises:
        ValueError: the model does not call its decoder once, with positions that can be continued.
    """
    mask = inputs["attention_mask"].bool()
    counted = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    given: list[Tensor] = []

    def place(_: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if named.get("position_ids") is None:
            named["position_ids"] = counted
        given.append(named["position_ids"])
        return arguments, named

    decoder: torch.nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]
    hook = decoder.register_forward_pre_hook(place, with_kwargs=True)
    try:
        output = model(**_for_forward(inputs), past_key_values=cache, use_cache=True, logits_to_keep=1)
    finally:
        hook.remove()
    if len(given) != 1:
        raise ValueError(f"the decoder was called {len(given)} times for one prompt")
    (positions,) = given
    axes = len(positions) if positions.dim() == 3 else None
    last = positions.amax(0) if axes else positions
    following = last.expand(mask.shape).masked_fill(~mask, -1).amax(-1) + 1
    return Prefilled(output.logits[:, -1], following, axes)


def prefilled(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[Prefilled, list[Any]]:
    """Encode prompts into a new cache; return what they leave behind, and the cache's layers with all their keys and values.

    Raises:
        ValueError: as for `prefill`, or a layer does not keep one key for each token.
    """
    cache = DynamicCache()  # without the config: layers with a sliding window keep all tokens, too
    first = prefill(model, inputs, cache)
    layers: list[Any] = list(cache.layers)
    tokens = inputs["attention_mask"].shape[1]
    for number, layer in enumerate(layers):
        if layer.keys is None or layer.keys.shape[2] != tokens:
            raise ValueError(f"layer {number} does not keep one key for each of {tokens} tokens")
    return first, layers


def extended(model: PreTrainedModel, inputs: Mapping[str, Tensor], tokens: Sequence[int]) -> dict[str, Any]:
    """Return the inputs of one prompt with an answer's tokens behind it, as training has them.

    Args:
        model: names the image's token.
        inputs: `input_ids` and `attention_mask` [1, L], and the image inputs.
        tokens: of the answer.
    """
    ids = inputs["input_ids"]
    more = torch.tensor([list(tokens)], dtype=ids.dtype, device=ids.device)
    return with_answers(inputs, more, torch.ones_like(more), image_token=model.config.image_token_id)


def _for_forward(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what a processor gives for training alone."""
    return {name: value for name, value in inputs.items() if name != "labels"}
