"""Limits on figures: which of them do not hold. Figures are numbers by dotted names, as `--json` prints them."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csrdata.errors import UserError

BOUNDS = ("min", "max")
"""The keys of a limit: smallest and largest allowed value."""
MOST_LIMITS = 1000
DO = "correct the file, then: csrdata gate FILE"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure has to be."""

    figure: str
    """`stats.` or `summary.` and the dotted name of a figure."""
    least: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A limit and what was measured."""

    figure: str
    value: float | None
    """None where it was not measured; such a limit does not hold."""
    min: float | None
    max: float | None
    holds: bool


def parse_limits(raw: object, *, place: str) -> list[Limit]:
    """Return the limits of a file: groups of figures (`stats`, `summary`), each with `min`, `max` or both.

    Raises:
        UserError: the file has another form, a bound is not a finite number, or no figure can be within both bounds.

    Example: `{"stats": {"pairs.kept": {"min": 100}}}` -> `[Limit("stats.pairs.kept", 100.0, None)]`
    """
    found = []
    for group, figures in _mapping(raw, place=place, expected="stats and summary, each with figures").items():
        for name, bounds in _mapping(figures, place=f"{place}: {group}", expected="figures").items():
            here = f"{place}: {group}.{name}"
            given = _mapping(bounds, place=here, expected="min, max or both")
            odd = next((key for key in given if key not in BOUNDS), None)
            if odd is not None or not given:
                raise UserError(here, got=odd or "no bound", expected="min, max or both", do=DO)
            for key, bound in given.items():
                if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
                    raise UserError(f"{here}.{key}", got=bound, expected="a finite number", do=DO)
            if len(given) == len(BOUNDS) and given["min"] > given["max"]:
                raise UserError(
                    f"{here}.min", got=given["min"], expected=f"at most max, {given['max']}", do=DO
                )
            found.append(Limit(f"{group}.{name}", given.get("min"), given.get("max")))
    if not found or len(found) > MOST_LIMITS:
        raise UserError(place, got=f"{len(found)} limits", expected=f"1 to {MOST_LIMITS}", do=DO)
    return found


def flat(value: object, name: str) -> dict[str, float | None]:
    """Return the numbers of nested JSON by their dotted names; texts and lists are left out, a null is None.

    Example: `flat({"a": {"b": 1, "c": None}}, "stats")` -> `{"stats.a.b": 1, "stats.a.c": None}`
    """
    if isinstance(value, Mapping):
        return {
            key: one for part, inner in value.items() for key, one in flat(inner, f"{name}.{part}").items()
        }
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return {name: value}
    return {}


def check(limits: list[Limit], figures: Mapping[str, float | None], *, place: str) -> list[Checked]:
    """Return every limit with the value of its figure, in order.

    Raises:
        UserError: there is no such figure; the nearest name is given.
    """
    # A part that does not exist as a whole (no search, no cost) is null under its own name.
    absent = [name for name, value in figures.items() if value is None]
    checked = []
    for limit in limits:
        if limit.figure not in figures and not any(limit.figure.startswith(f"{name}.") for name in absent):
            near = difflib.get_close_matches(limit.figure, figures, n=1, cutoff=0.0)
            expected = near[0] if near else "a figure of csrdata stats --json or of metrics/summary.json"
            raise UserError(f"{place}: {limit.figure}", got="no such figure", expected=expected, do=DO)
        value = figures.get(limit.figure)
        holds = (
            value is not None
            and (limit.least is None or value >= limit.least)
            and (limit.most is None or value <= limit.most)
        )
        checked.append(Checked(limit.figure, value, limit.least, limit.most, holds))
    return checked


def line(one: Checked) -> str:
    """Return a limit in words. Example: `fails: stats.pairs.kept is 12, min 100`."""
    value = "not measured" if one.value is None else f"{one.value:.6g}"
    bounds = [
        f"{name} {bound:g}" for name, bound in (("min", one.min), ("max", one.max)) if bound is not None
    ]
    return f"{'holds' if one.holds else 'fails'}: {one.figure} is {value}, {', '.join(bounds)}"


def _mapping(value: object, *, place: str, expected: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(place, got="nothing" if value is None else value, expected=expected, do=DO)
    return value
