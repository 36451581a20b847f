"""Building blocks of printed pages: text that is safe to print, and tables that wrap long cells, at any width.

A page is laid out when the terminal's width and encoding are known: `Page` wraps the function that does this.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from csrdata.inspection.histogram import sparkline
from csrdata.text import printable


@dataclass(frozen=True, slots=True)
class Paper:
    """Width and encoding of the terminal that a page is laid out for."""

    width: int
    """Columns."""
    encoding: str

    def text(self, words: object, style: str = "") -> Text:
        """Return text that is safe to print: no markup, no control characters. Long words are folded."""
        return Text(printable(words, encoding=self.encoding), style=style, overflow="fold")

    def bars(self, counts: Sequence[int]) -> Text:
        """Return a histogram as one line of characters."""
        drawn = sparkline(counts, ascii_only=not self.encoding.startswith("utf"))
        return Text(drawn, no_wrap=True, overflow="fold")


class Screen(Console):
    """Standard output, without markup, emoji codes and highlighting."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, so that a closed pipe ends the process as usual; rich would exit with 1."""
        raise BrokenPipeError


@dataclass(frozen=True, slots=True)
class Page:
    """A printable object whose layout depends on the paper."""

    draw: Callable[[Paper], Iterable[RenderableType]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.draw(Paper(options.max_width, options.encoding))


def section(
    paper: Paper,
    title: str,
    rows: Sequence[Sequence[object]],
    *,
    headers: Sequence[str] = (),
    sides: str,
    least: int = 0,
) -> Iterator[RenderableType]:
    """Yield an empty line, a title, and a table whose cells wrap.

    Args:
        paper: the terminal.
        title: a line above the table, which may be as wide as the paper.
        rows: the cells, equally many per row; a `Text` is drawn as it is, anything else through `paper.text`.
        headers: one per column, or empty for no header.
        sides: `l` (left) or `r` (right) for each column: its alignment.
        least: least width of the first column, in columns of the terminal.
    """
    drawn = Table(
        box=SIMPLE_HEAD if headers else None,
        show_header=bool(headers),
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if headers else 2, 0, 0),
    )
    for side, header in zip(sides, headers or [""] * len(sides), strict=True):
        drawn.add_column(
            paper.text(header),
            justify="left" if side == "l" else "right",
            overflow="fold",
            min_width=least if not drawn.columns else None,
        )
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else paper.text(cell) for cell in row))
    yield Text()
    yield paper.text(title, style="bold")
    yield drawn


def number(value: float | None) -> str:
    """Return a figure with three significant digits, whole numbers in full; a missing figure is a dash."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"
