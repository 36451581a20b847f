"""A full disk as one line, whichever library found it out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from csrdata.disk import FULL, refusal
from csrdata.errors import UserError


@contextmanager
def room(folder: Path, *, expected: str, do: str) -> Iterator[None]:
    """Turn a full disk into a `UserError`; anything else passes.

    Args:
        folder: what was being written.
        expected: how much room is wanted, and what is left of what was written.
        do: where room may come from, and the next command.
    """
    try:
        yield
    except Exception as error:
        if refusal(error) not in FULL:
            raise
        raise UserError(str(folder), got="no room on the disk", expected=expected, do=do) from None
