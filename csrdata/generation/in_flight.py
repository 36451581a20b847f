"""Out of memory inside a shard: halve the prompts in flight, and go on with those that are not finished.

Finished prompts keep their trees. The others start again, because their answers were in the memory that ran out. Another
number of prompts in flight is another batch, which can change the last bits of a log-probability, and so a sentence where
two tokens are almost equally likely. The numbers that were used are therefore part of a shard's entry in the manifest.
Every shard starts with the number of params.yaml: what it contains does not depend on the shards before it.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from csrdata.errors import UserError
from csrdata.policy.memory import free, is_out_of_memory
from csrdata.text import one_line

T = TypeVar("T")

Attempt = Callable[[Sequence[int], int], Iterator[tuple[int, T]]]
"""Compute some items, at most so many together; yield the place in the list and the result of each as it is finished."""


class InFlight:
    """Remembers the numbers of prompts in flight that a shard was made with, if memory ran out."""

    def __init__(self) -> None:
        self._used: tuple[int, ...] = ()

    def add(self, numbers: Sequence[int]) -> None:
        self._used = (*self._used, *numbers)

    def take(self) -> tuple[int, ...]:
        """Return the numbers of the shard, in order, and forget them; empty if memory did not run out."""
        taken, self._used = self._used, ()
        return taken


def halving(count: int, attempt: Attempt[T], *, at_once: int, used: InFlight) -> list[T]:
    """Return the results of all items, computed with fewer of them together each time memory runs out.

    Args:
        count: of items.
        attempt: computes them.
        at_once: the most that are computed together at first, 1 or more.
        used: receives the numbers, if memory ran out.

    Raises:
        UserError: memory runs out with a single item.
    """
    found: dict[int, T] = {}
    numbers = [min(at_once, count)]
    while problem := _go_on(found, count, attempt, at_once=numbers[-1]):
        free()  # here no frame of the attempt holds its tensors any more
        left = count - len(found)
        before = min(numbers[-1], left)
        if before == 1:
            raise UserError(
                "generate_beams",
                got=f"no memory left with 1 prompt in flight: {problem}",
                expected="a device with enough memory for one prompt",
                do="csrdata check, which says what takes it; lower the token limits or the policy's dtype, then: dvc repro",
            )
        numbers.append(before // 2)
        warnings.warn(
            f"no memory left with {before} prompts in flight: {left} of {count} prompts of the shard go on with "
            f"{numbers[-1]}. To plan for it, write `prompts_at_once: {numbers[-1]}` under generate_beams",
            stacklevel=2,
        )
    if len(numbers) > 1:
        used.add(numbers)
    return [found[index] for index in range(count)]


def _go_on(found: dict[int, T], count: int, attempt: Attempt[T], *, at_once: int) -> str | None:
    """Add the results that are missing; return the words of the error if memory ran out, None if all are there."""
    left = [index for index in range(count) if index not in found]
    try:
        for place, result in attempt(left, at_once):
            found[left[place]] = result
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(found) == count:  # it ran out after the last result
            return None
        return one_line(str(error) or type(error).__name__, limit=80)
    return None
