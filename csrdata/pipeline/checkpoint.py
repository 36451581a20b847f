"""Wiring of `csrdata export --to checkpoint`: a policy in, one model folder out. No stage."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.runtime import set_up_process
from csrdata.publishing.folders import new_folder
from csrdata.sections.values import Dtype, Numbers

if TYPE_CHECKING:
    from csrdata.policy.checkpoint import Merged

CHECKPOINT = "checkpoint"
"""The name of this export, for `--to`."""


def export_checkpoint(folder: Path, *, iteration: str, dtype: str | None) -> "Merged":
    """Write the policy that an iteration trained as a model folder, whole or not at all.

    Args:
        folder: new or empty.
        dtype: of the weights; None: `compute.dtype` of params.yaml, bfloat16 for nf4.

    Raises:
        UserError: the policy is missing or changed, the folder holds something, or there is no such dtype.
    """
    params = load_params()
    chosen = unpacked(params.compute.dtype) if dtype is None else dtype
    number = next((one for one in get_args(Dtype) if one == chosen), None)
    if number is None:
        raise UserError(
            "--dtype", got=chosen, expected=f"one of {', '.join(get_args(Dtype))}", do="csrdata export --help"
        )
    policy = need_policy(iteration)
    set_up_process(params.compute)
    from csrdata.policy.checkpoint import write_checkpoint

    with new_folder(folder) as partial:
        return write_checkpoint(policy, partial, dtype=number)


def unpacked(dtype: Numbers) -> Dtype:
    """Return the number format in which a policy is written: bfloat16 for one whose weights are packed into 4 bits."""
    return "bfloat16" if dtype == "nf4" else dtype
