"""4-bit weights (NF4) for the language model's linear layers: QLoRA, arXiv 2305.14314, through bitsandbytes.

The weights of these layers take half a byte each; the products are computed in bfloat16. Everything else stays in bfloat16:
embeddings, the output layer, the vision tower, the projector, and the adapters of earlier iterations, which stay on top of
their layers (`csrdata.policy.stacked`). The policy that proposes, that is trained and that is measured is the same 4-bit
policy, so that the reference of DPO is the policy that wrote the pairs. Tested on the CPU; not yet run on a GPU.

Importing this module imports bitsandbytes, which the extra `quantized` installs.
"""

import logging
from typing import Any

import bitsandbytes
import torch
from torch import Tensor, nn

from csrdata.policy.stacked import StackedLinear

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of faster kernels that are not installed


class QuantizedLinear(bitsandbytes.nn.Linear4bit):  # type: ignore[misc]  # bitsandbytes has no types
    """A linear layer with 4-bit weights and, on top of them, the update of a layer's earlier adapters, if it had any."""

    def __init__(self, layer: nn.Linear, *, device: torch.device | str) -> None:
        """Quantize a layer's weights on a device; the layer must not be used afterwards."""
        super().__init__(
            layer.in_features,
            layer.out_features,
            bias=False,
            compute_dtype=torch.bfloat16,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        self.weight = bitsandbytes.nn.Params4bit(
            layer.weight.data,
            requires_grad=False,
            compress_statistics=True,
            quant_type="nf4",
            module=self,
        )
        self.bias = layer.bias
        self.is_stacked = isinstance(layer, StackedLinear)
        self.on = True
        if isinstance(layer, StackedLinear):
            self.gain = layer.gain
            self.register_buffer("down", layer.down, persistent=False)
            self.register_buffer("up", layer.up, persistent=False)
        self.to(device)  # this is where bitsandbytes quantizes

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Return the layer's output [..., out] for [..., in]."""
        found: Tensor = super().forward(input)
        if not (self.is_stacked and self.on):
            return found
        update = nn.functional.linear(nn.functional.linear(input.to(self.down.dtype), self.down), self.up)
        return found + (self.gain * update).to(found.dtype)


def quantize(model: Any, *, device: torch.device | str) -> None:
    """Quantize all linear layers of a policy's language model, in place, one after the other.

    Args:
        model: in bfloat16, adapters stacked.
        device: where the layers go; the rest of the model stays where it is.
    """
    decoder = model.get_decoder()
    for name, layer in list(decoder.named_modules()):
        if isinstance(layer, nn.Linear):
            above, _, last = name.rpartition(".")
            setattr(decoder.get_submodule(above), last, QuantizedLinear(layer, device=device))
