"""A full disk as one line, whichever library found it out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from csrdata.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    except (OSError, pl.exceptions.PolarsError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in FULL and "No space left" not in str(error):
            raise
        raise UserError(str(folder), got="no room on the disk", expected=expected, do=do) from None
