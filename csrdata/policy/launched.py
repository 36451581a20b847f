"""Whether this process is one of several that `accelerate launch` or `torchrun` started, and which: from the environment.

Importing this module loads no model library; `csrdata.policy.processes` holds what the processes do together.
"""

import os

_NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")


def is_launched() -> bool:
    """Return whether this process was started with others."""
    return all(name in os.environ for name in _NEEDED) and os.environ["WORLD_SIZE"].isdigit()


def planned() -> int:
    """Return how many processes were started together, 1 or more, whether or not they are connected yet."""
    return max(1, int(os.environ["WORLD_SIZE"])) if is_launched() else 1


def number() -> int:
    """Return this process's number among them, from 0; only the first one writes what is kept."""
    return int(os.environ["RANK"]) if is_launched() else 0


def own_device(device: str) -> str:
    """Return this process's device.

    Example: `cuda` in the second process of a machine -> `cuda:1`; `cpu` -> `cpu`
    """
    return f"cuda:{os.environ['LOCAL_RANK']}" if is_launched() and device == "cuda" else device


def is_sharded() -> bool:
    """Return whether `accelerate launch` asked for FSDP, which splits the model's weights over the processes."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
