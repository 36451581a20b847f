"""When a device has no memory left: tell that error from others, and give memory back that no object holds."""

import gc
import sys
from typing import Any

_TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""In a RuntimeError of torch that has no separate class."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated, on an accelerator or on a CPU.

    A CUDA graph that is captured when memory runs out ends in another error, whose context is the first one.
    """
    torch = _torch()
    if error.__context__ is not None and is_out_of_memory(error.__context__):
        return True
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def free() -> None:
    """Give an accelerator's memory back that no object holds."""
    gc.collect()
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _torch() -> Any:
    """Return torch if it has been imported: an engine of a stage without a model does not wait for it."""
    return sys.modules.get("torch")
