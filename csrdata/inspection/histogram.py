"""Histograms for a terminal: counts in bins of equal width, drawn as one line of block characters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 24
BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII_BLOCKS = " .:-=+*#@"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins of equal width from `low` to `high`."""

    low: float
    high: float
    counts: tuple[int, ...]


def histogram(values: Sequence[float], *, bins: int = BINS, other: Sequence[float] = ()) -> Histogram | None:
    """Count finite values in equal bins; None without any. Values that are all equal fill the first bin.

    Args:
        values: what is counted.
        bins: 1 or more.
        other: other values that the bins must cover, so that two histograms share one axis.

    Example: `histogram([0, 1, 1, 4], bins=2)` -> `Histogram(0, 4, (3, 1))`
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    spanned = [*finite, *(value for value in other if math.isfinite(value))]
    low, high = min(spanned), max(spanned)
    counts = [0] * bins
    for value in finite:
        counts[min(int(bins * (value - low) / (high - low)), bins - 1) if high > low else 0] += 1
    return Histogram(low, high, tuple(counts))


def sparkline(counts: Sequence[int], *, ascii_only: bool = False) -> str:
    """Draw counts as one line of blocks, or of ASCII characters that get darker.

    The highest count is drawn full, and any count above 0 is visible.

    Example: (0, 1, 8) -> " ▁█"
    """
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    top = max(counts, default=0)
    return "".join(blocks[math.ceil(count / top * (len(blocks) - 1))] if count else " " for count in counts)
