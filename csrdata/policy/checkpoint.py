"""A policy as one model folder that any server of transformers' models loads: adapters merged into the weights.

Each weight is merged by itself in float32 and then rounded to the numbers that were asked for, so that memory holds the base
once, in its own numbers. In 16 bits the rounding can remove a small update: how much of it is left is measured and returned.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csrdata.errors import UserError
from csrdata.policy.adapter import RERUN, read_updates
from csrdata.policy.loading import Dtype, load_base, load_processor, read_chain
from csrdata.policy.stacked import Update, merged
from csrdata.weights import check_finite


@dataclass(frozen=True, slots=True)
class Merged:
    """What the merge did."""

    adapters: int
    kept: float | None
    """Share of the update that is left after rounding, along its own direction: 1 is all of it. None without adapters."""


def write_checkpoint(policy: Path, folder: Path, *, dtype: Dtype) -> Merged:
    """Write a policy as a model folder: weights, processor with its chat template, generation config.

    Args:
        policy: a model folder, a pointer folder or a chain folder.
        folder: an empty folder.
        dtype: of the weights written.

    Raises:
        UserError: the policy cannot be loaded (see `load_policy`), or a merged weight is not finite in these numbers.
    """
    chain = read_chain(policy)
    number: torch.dtype = getattr(torch, dtype)
    model: Any = load_base(policy, chain, dtype="auto")
    updates = [read_updates(model, adapter) for adapter in chain.adapters]
    along = total = 0.0
    with torch.no_grad():
        for name in sorted({name for one in updates for name in one}):
            layer = model.get_submodule(name)
            if type(layer) is not nn.Linear:
                expected = "adapters of linear layers"
                raise UserError(f"{policy}: {name}", got=type(layer).__name__, expected=expected, do=RERUN)
            found, wanted, square = _merge(
                layer.weight, [one[name] for one in updates if name in one], number
            )
            layer.weight.data = found
            along, total = along + wanted, total + square
        model.to(number)
    check_finite(model.state_dict().items(), place=f"{policy} as {dtype}", do="choose --dtype float32")
    model.config.dtype = number
    model.save_pretrained(str(folder))
    processor: Any = load_processor(policy)
    processor.save_pretrained(str(folder))
    return Merged(adapters=len(chain.adapters), kept=along / total if total else None)


def _merge(weight: Tensor, updates: list[Update], number: torch.dtype) -> tuple[Tensor, float, float]:
    """Return a merged weight, the product of its real and its wanted change, and the wanted change squared."""
    before, exact = weight.float(), merged(weight, updates)
    found = exact.to(number)
    wanted = exact - before
    return (
        found,
        float(((found.float() - before.to(number).float()) * wanted).sum()),
        float(wanted.square().sum()),
    )
