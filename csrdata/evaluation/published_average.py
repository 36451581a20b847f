"""The paper's average over twelve benchmark columns, and the rows that it publishes (arXiv 2405.14622, Tables 1 and 6 to 9).

The average (section 4.1) is the mean of the columns, each on a scale of 0..100 where higher is better: MME's perception is
divided by 16 and its cognition by 4, and CHAIR counts as 100 - CHAIR.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COLUMNS = (
    *("mme_perception", "mme_cognition", "seed", "llava_w", "mmbench", "mm_vet"),
    *("sqa", "vizwiz", "gqa", "pope", "chair_s", "chair_i"),
)
"""In the order of the paper's tables; as published, before any scaling."""
MME_PARTS = {"mme_perception": 16.0, "mme_cognition": 4.0}
LOWER_IS_BETTER = ("chair_s", "chair_i")
FILE = Path(__file__).parent / "published.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of one of the paper's tables."""

    table: str
    model: str
    method: str
    """`base`, `CSR`, or another method as the paper names it."""
    iteration: int | None
    """0 for the base; None where the paper names none."""
    scores: Mapping[str, float]
    """By name of `COLUMNS`, as published."""

    @property
    def average(self) -> float:
        """The paper's average, 0..100."""
        return average(self.scores)


def average(scores: Mapping[str, float]) -> float:
    """Return the paper's average of twelve scores, 0..100.

    Args:
        scores: by name of `COLUMNS`, as benchmarks report them: MME as a sum of points, CHAIR as a percentage of errors.

    Raises:
        ValueError: a column is missing: an average over others is not comparable.
    """
    if missing := [name for name in COLUMNS if name not in scores]:
        raise ValueError(f"the average has twelve columns; missing: {', '.join(missing)}")
    return sum(_scaled(name, scores[name]) for name in COLUMNS) / len(COLUMNS)


def published_rows() -> list[Row]:
    """Return the paper's rows, in the order of its tables."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                row["table"],
                row["model"],
                row["method"],
                int(row["iteration"]) if row["iteration"] else None,
                {name: float(row[name]) for name in COLUMNS},
            )
            for row in csv.DictReader(file)
        ]


def _scaled(name: str, score: float) -> float:
    """Return a score on 0..100, higher is better."""
    return 100.0 - score if name in LOWER_IS_BETTER else score / MME_PARTS.get(name, 1.0)
