"""Cells and lines of a Markdown table."""

from collections.abc import Iterable, Sequence

MISSING = "-"


def number(value: float | None, digits: int = 1) -> str:
    """Show a number; `MISSING` if there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"


def named(seeds: Sequence[int]) -> str:
    """Name some seeds. Example: `seeds 0, 1`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that there are; None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def head(cells: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [line(cells), line(["---"] * len(cells))]


def line(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |"
