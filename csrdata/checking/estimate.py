"""An estimate of peak memory and time, from the model's shape and from the timing of two prompts.

Memory is a sum of parts, in bytes. Generation: see `csrdata.checking.memory_plan`. Training: the weights; the adapter with
its gradient and AdamW's two moments, all in float32; the activations that the backward pass needs; the logits of one
chunk. What libraries and the allocator take is not part of it.

Time grows with the rows that are decoded at once by a fixed part and a part per prompt; both come from timing one prompt
and two. docs/benchmarks.md compares estimates with measurements (`python -m benchmarks.estimate`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

MEASURED = (
    "on a CPU, memory was 0.8 to 1.2 times what was measured, time 1.3 to 3.7 times (docs/benchmarks.md)"
)
"""How far off the estimate was: written by hand from `python -m benchmarks.estimate`."""

_FLOAT = 4
"""Bytes of a float32."""
_OPTIMISER = 4 * _FLOAT
"""Bytes of an adapter's parameter: itself, its gradient, two moments."""
_ATTENTION_COPIES = 3
"""Matrices of attention that the backward pass on a CPU keeps: scores, probabilities and their masked copy."""
_LOGITS_AT_ONCE = 4096
"""Rows of logits that TRL's fused output layer computes at once, at most."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a model's memory."""

    parameters: int
    layers: int
    hidden: int
    """Width of the language model."""
    intermediate: int
    """Width inside a block's feed-forward part."""
    heads: int
    """Of attention."""
    kv_numbers: int
    """Numbers of the keys and values of a token in one layer."""
    vocabulary: int
    adapter_per_rank: int
    """Parameters of a LoRA adapter of rank 1 on the language model."""
    bytes_per_number: int
    """Of what the model computes in."""
    quantized: int = 0
    """Parameters that take half a byte each."""

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return (self.parameters - self.quantized) * self.bytes_per_number + self.quantized // 2

    @property
    def cache(self) -> int:
        """Bytes of the keys and values of a token."""
        return self.layers * self.kv_numbers * self.bytes_per_number

    def adapter(self, rank: int) -> int:
        """Return the parameters of an adapter."""
        return self.adapter_per_rank * rank


def shape_of(model: Any, *, bytes_per_number: int | None = None) -> Shape:
    """Return a model's shape; the model may be on the meta device.

    Args:
        model: an image-text-to-text model of transformers.
        bytes_per_number: of its weights; None for what they have.
    """
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    linear = [one for one in model.get_decoder().modules() if isinstance(one, nn.Linear)]
    packed = sum(one.numel() for one in model.parameters() if one.dtype == torch.uint8)
    return Shape(
        parameters=sum(one.numel() for one in model.parameters()) + packed,  # two in each byte
        quantized=2 * packed,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        heads=heads,
        kv_numbers=2 * kv_heads * head,
        vocabulary=config.vocab_size,
        adapter_per_rank=sum(one.in_features + one.out_features for one in linear),
        bytes_per_number=bytes_per_number or model.dtype.itemsize,
    )


def training_memory(
    shape: Shape,
    *,
    batch_size: int,
    sides: int,
    prompt_tokens: int,
    answer_tokens: int,
    lora_rank: int,
    gradient_checkpointing: bool,
    keeps_attention: bool,
) -> dict[str, int]:
    """Return the parts of training's peak memory, in bytes.

    Args:
        shape: the policy's.
        batch_size: pairs of a forward pass.
        sides: answers of a pair that are read: 2, or 1 for fine-tuning on the chosen ones.
        prompt_tokens: of a prompt, the image's included.
        answer_tokens: of an answer.
        lora_rank: the adapter's.
        gradient_checkpointing: whether only the input of each layer is kept for the backward pass.
        keeps_attention: whether the backward pass needs the matrices of attention, as on a CPU; fused kernels do not.
    """
    positions = sides * batch_size * (prompt_tokens + answer_tokens)
    wide = max(shape.bytes_per_number, 2)
    # Of a layer, per token: two norms (each its input and a float32 copy), queries, keys, values, the attention's output,
    # the input of the output projection; the gate, its activation, the other branch and their product. LoRA keeps its
    # inputs, and its own outputs of rank r.
    own = (6 * shape.hidden + 2 * shape.kv_numbers + 4 * shape.intermediate) * wide
    own += 4 * shape.hidden * _FLOAT + 7 * lora_rank * _FLOAT
    if keeps_attention:
        own += _ATTENTION_COPIES * shape.heads * (prompt_tokens + answer_tokens) * _FLOAT
    kept = shape.hidden * wide
    layers = shape.layers * kept + own if gradient_checkpointing else shape.layers * own
    return {
        "weights": shape.weights,
        "adapter": shape.adapter(lora_rank) * _OPTIMISER,
        "activations": positions * layers,
        "logits": min(sides * batch_size * answer_tokens, _LOGITS_AT_ONCE) * shape.vocabulary * 3 * _FLOAT,
    }


def total(parts: Mapping[str, int]) -> int:
    """Return the sum of parts."""
    return sum(parts.values())


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of the two prompts' trial."""

    one: float
    """Search of one prompt."""
    two: float
    """Search of two prompts together."""
    step: float
    """A training step, per pair."""
    preflight: float
    """Reference log-probabilities, per pair."""


def generation_seconds(pace: Pace, *, prompts: int, at_once: int, depth: int, tried_depth: int) -> float:
    """Return the seconds of one iteration's search.

    A group of n prompts takes a fixed part and a part per prompt. Below a tenth of a prompt's time the part per prompt is
    not believed: two prompts hardly fill a machine that is fast.

    Args:
        pace: of the trial.
        prompts: of the project.
        at_once: searched together; 1 on a slower path.
        depth: sentences of an answer.
        tried_depth: sentences of the trial's answers, 1 or more.
    """
    each = min(max(pace.two - pace.one, 0.1 * pace.two), pace.two / 2)
    fixed = pace.two - 2 * each
    groups = math.ceil(prompts / at_once)
    return (groups * fixed + prompts * each) * depth / tried_depth


def training_seconds(pace: Pace, *, pairs: int, epochs: float) -> float:
    """Return the seconds of one iteration's training: the references once, if any, then a step for each pair and epoch."""
    return pairs * (pace.preflight + epochs * pace.step)
