"""Mean and quantiles of some values, as columns of a table for plots."""

from collections.abc import Sequence

import numpy as np

QUANTILES = (10, 25, 50, 75, 90)
"""Percent; a quantile between two values is interpolated linearly."""
SPREAD_COLUMNS = ("count", "mean", *(f"p{quantile}" for quantile in QUANTILES))


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return `SPREAD_COLUMNS` of some finite values; without values, a count of 0 and None.

    Example: 1 2 3 4 -> count 4, mean 2.5, p10 1.3, p25 1.75, p50 2.5, p75 3.25, p90 3.7
    """
    if not values:
        return {**dict.fromkeys(SPREAD_COLUMNS), "count": 0}
    found = [float(np.mean(values)), *np.percentile(values, QUANTILES).tolist()]
    return {"count": len(values), **dict(zip(SPREAD_COLUMNS[1:], found, strict=True))}
