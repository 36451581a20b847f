"""Adapters that stay on top of their base, for numbers of 16 bits, in which a merged update can round away.

A weight in bfloat16 has 8 bits. An update of less than a 512th of it changes nothing once it is merged and rounded, and the
updates of one DPO run are often smaller. A `StackedLinear` therefore keeps the base's matrix W and the low-rank update apart
and adds their products before the result is rounded: W x + up (down x), one rounding. To every reader it is a linear layer
with the base's weight, so that the next adapter goes on top of it. Switched off, it is the base, bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from csrdata.errors import UserError


@dataclass(frozen=True, slots=True)
class Update:
    """What one adapter adds to one linear layer: scale * up @ down, in float32."""

    down: Tensor
    """A of LoRA, [rank, in]."""
    up: Tensor
    """B of LoRA, [out, rank]."""
    scale: float


Updates = Mapping[str, Update]
"""By the layer's name in the model."""


class StackedLinear(nn.Linear):
    """A linear layer with a fixed low-rank update that can be switched off."""

    is_stacked = True
    down: Tensor
    up: Tensor

    def __init__(self, base: nn.Linear, updates: Sequence[Update]) -> None:
        """Put updates on a layer, whose weight is shared and not copied.

        Several updates are one: [up1, up2] [down1; down2]. The rows of `down` get length 1 and `up` the largest entry 1, so
        that no small number is lost in float16; `gain` is what was taken out.
        """
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        down = torch.cat([update.down for update in updates])
        up = torch.cat([update.scale * update.up for update in updates], dim=1)
        lengths = down.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        up = up * lengths
        self.gain = max(float(up.abs().max()), torch.finfo(torch.float32).tiny)
        to = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.register_buffer("down", (down / lengths[:, None]).to(**to), persistent=False)
        self.register_buffer("up", (up / self.gain).to(**to), persistent=False)
        self.on = True

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class's name
        """Return the layer's output [..., out] for [..., in]."""
        if not self.on:
            return super().forward(input)
        rows = input.reshape(-1, self.in_features)
        update = nn.functional.linear(nn.functional.linear(rows, self.down), self.up)
        # One product with one rounding: the sum is inside it.
        found = torch.addmm(update, rows, self.weight.t(), beta=self.gain)
        if self.bias is not None:
            found = found + self.bias
        return found.reshape(*input.shape[:-1], self.out_features)


def stack(model: Any, chain: Sequence[Updates], *, place: str, do: str) -> None:
    """Put the updates of a chain of adapters on a model's linear layers, in place.

    Raises:
        UserError: an adapter changes something else than a linear layer.
    """
    for name in dict.fromkeys(name for updates in chain for name in updates):
        layer = model.get_submodule(name)
        if type(layer) is not nn.Linear:
            raise UserError(
                f"{place}: {name}", got=type(layer).__name__, expected="adapters of linear layers", do=do
            )
        own = [updates[name] for updates in chain if name in updates]
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, StackedLinear(layer, own))


def merged(weight: Tensor, updates: Sequence[Update]) -> Tensor:
    """Return a weight with updates added one after the other, in float32."""
    found = weight.float()
    for update in updates:
        found = found + (update.up @ update.down) * update.scale
    return found


def stacked_layers(model: nn.Module) -> list[Any]:
    """Return a model's layers with an update on them, which their attribute `on` switches off."""
    return [module for module in model.modules() if getattr(module, "is_stacked", False) is True]
