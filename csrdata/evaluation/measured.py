"""What `csrdata evaluate` gives: one model's figures on one benchmark, each with its interval, and how they were made."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from csrdata.evaluation.contrast import Measured, with_intervals
from csrdata.evaluation.protocol import Protocol
from csrdata.evaluation.scorecard import Label

if TYPE_CHECKING:
    from csrdata.evaluation.harness.results import HarnessProtocol

DIGITS = 6
"""Decimals kept: smaller differences come from the order of summation."""


@dataclass(frozen=True, slots=True)
class Value:
    """A figure with its interval."""

    title: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    check: str | None
    """How it was compared with the original benchmark (`csrdata.evaluation.pack.base.Check`); None of another harness."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one benchmark."""

    name: str
    """Of the answers: a file, or an iteration."""
    benchmark: str
    variant: str | None
    """In which way the rules differ from the original ones; None where they are these."""
    protocol: "Protocol | HarnessProtocol"
    empty_answers: int
    confidence: float
    """Of the intervals, percent."""
    figures: Mapping[str, Value]

    def as_json(self) -> dict[str, object]:
        """Return the evaluation as plain values."""
        return asdict(self)


def values_of(
    measured: Measured,
    labels: Mapping[str, Label],
    *,
    check: Callable[[str], str],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Value]:
    """Return each figure with its interval, in the order of the labels; `check` gives its `Value.check`."""
    found = with_intervals(measured, resamples=resamples, confidence=confidence, seed=seed)
    return {
        name: _value(label, *map(_rounded, found[name]), check=check(name))
        for name, label in labels.items()
        if name in found
    }


def _value(label: Label, value: float | None, low: float | None, high: float | None, *, check: str) -> Value:
    return Value(label.title, label.unit, value, low, high, check)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
