"""Progress bars: a bar on a terminal; one line per minute in a file, which `tail -f` can follow."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

from csrdata.text import printable

SECONDS = 60.0
"""Seconds between two lines of a bar that is not on a terminal."""
_LINE = "{desc}: {percentage:.0f}% ({n_fmt} of {total_fmt}), {elapsed} gone, {remaining} left, {rate_fmt}{postfix}"


def progress(
    items: Iterable[Any] | None = None,
    *,
    title: str | None,
    unit: str,
    total: int | None = None,
    disable: bool = False,
    smoothing: float = 0.3,
) -> "tqdm[Any]":
    """Return a bar on stderr over `items`, or one of `total` steps that the caller updates.

    Add a text with `set_postfix_str(text, refresh=False)`: a refresh would add a line to a file.

    Args:
        items: what is looped over.
        title: what is being done.
        unit: the name of one item.
        total: the number of items, if `items` has no length.
        disable: show nothing.
        smoothing: 0..1, the weight of the latest steps in the rate.
    """
    settings: dict[str, Any] = {
        "total": total,
        "desc": None if title is None else printable(title),
        "unit": unit,
        "disable": disable,
        "smoothing": smoothing,
    }
    if not is_terminal(sys.stderr):
        settings |= {"mininterval": SECONDS, "miniters": 1, "bar_format": _LINE, "file": _Lines()}
    return tqdm(items, **settings)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; False for a closed one (None)."""
    return stream is not None and stream.isatty()


class _Lines:
    """A file for tqdm that turns each new state of a bar into a line on stderr. Errors of stderr are ignored."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._done = ""

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        done = line.partition(",")[0]
        # tqdm draws the last state of a closed bar once more.
        if line and done != self._done and sys.stderr is not None:
            self._done = done
            try:
                sys.stderr.write(f"{line}\n")
            except OSError:
                return 0
        return len(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            try:
                sys.stderr.flush()
            except OSError:
                return
