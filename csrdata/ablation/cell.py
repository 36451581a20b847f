"""A figure of an arm with its tests: a cell of the table."""

from dataclasses import dataclass

from csrdata.ablation.comparing import Pooled


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of an arm."""

    figure: Pooled
    p_vs_base: float | None
    p_vs_shipped: float | None

    def as_json(self) -> dict[str, object]:
        """Return the cell in the form of the file, rounded: smaller differences come from the order of summation."""
        value, low, high = (_rounded(one) for one in (self.figure.value, self.figure.low, self.figure.high))
        return {
            "value": value,
            "low": low,
            "high": high,
            "seeds": [_rounded(one) for one in self.figure.seeds],
            "p_vs_base": _rounded(self.p_vs_base),
            "p_vs_shipped": _rounded(self.p_vs_shipped),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
