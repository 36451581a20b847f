"""What processes that train one policy together do together: share work, and agree.

One process alone is the first of one: every function here then returns at once.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from csrdata.errors import UserError
from csrdata.policy.launched import number

T = TypeVar("T")


def count() -> int:
    """Return how many processes train together, 1 or more."""
    return dist.get_world_size() if _together() else 1


def gathered(work: Callable[[], T]) -> list[T]:
    """Do a part of some work in each process, and return all parts, by process, in each.

    Raises:
        UserError: that of the first process that raised one; all processes raise it.
    """
    if not _together():
        return [work()]
    part: tuple[T | None, UserError | None]
    try:
        part = work(), None
    except UserError as error:
        part = None, error
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, part)
    for _, raised in parts:
        if raised is not None:
            raise raised
    return [found for found, _ in parts]


def decided(decide: Callable[[], T]) -> T:
    """Decide something in the first process, and return its decision in all of them.

    Raises:
        UserError: that of the first process; all processes raise it.
    """
    return gathered(lambda: decide() if number() == 0 else None)[0]  # type: ignore[return-value]


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
