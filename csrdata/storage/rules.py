"""Rules for the values of a column: what a rule is, and the kinds that occur again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on the values of one column."""

    expected: str
    """The error's words after `expected`."""
    broken: Callable[[pl.Expr], pl.Expr]
    """Return a Boolean column that is true in each row that breaks the rule; null counts as false."""
    show: Callable[[Any], object] = lambda value: "null" if value is None else value
    """Return what the error shows of an invalid value."""
    alone: bool = False
    """Whether it looks at one value at a time: of equal neighbours, such as the id of a tree's rows, one is tested."""

    def tested(self, column: str) -> pl.Expr:
        """Return the values of a column that have to be tested."""
        return pl.col(column).rle().struct.field("value") if self.alone else pl.col(column)


def one_of(values: type[StrEnum]) -> Rule:
    """Return the rule that a text is a value of an enumeration."""
    names = [value.value for value in values]
    return Rule(f"one of {', '.join(names)}", lambda column: ~column.is_in(names))


def at_most(limit: int, *, alone: bool = False) -> Rule:
    """Return the rule that a text has at most `limit` characters."""
    return Rule(
        f"at most {limit:,} characters",
        lambda column: column.str.len_chars() > limit,
        lambda value: f"{len(value):,} characters",
        alone=alone,
    )


def items_at_most(limit: int, unit: str) -> Rule:
    """Return the rule that a list has at most `limit` items."""
    return Rule(
        f"at most {limit:,} {unit}",
        lambda column: column.list.len() > limit,
        lambda value: f"{len(value):,} {unit}",
    )


def between(low: float, high: float, what: str, *, rounding: float = 0.0) -> Rule:
    """Return the rule that values are from `low` to `high`. It tests NaN separately, which fails every comparison."""
    return Rule(
        what,
        lambda column: column.is_nan() | (column < low - rounding) | (column > high + rounding),
    )


def whole(low: int, high: int | None = None) -> Rule:
    """Return the rule that a number is from `low` to `high`; without `high`, there is no upper limit."""
    expected = f"a whole number of {low} or more" if high is None else f"a whole number of {low} to {high:,}"
    return Rule(expected, lambda column: (column < low) | (False if high is None else column > high))


def once(*columns: str) -> Rule:
    """Return the rule that no two rows have the same values in these columns."""
    named = " and ".join(columns)
    return Rule(f"one row for each {named}", lambda _: ~pl.struct(*columns).is_first_distinct())


def blank(column: pl.Expr) -> pl.Expr:
    """Return whether a text has only white space, as `str.strip` defines it."""
    return ~column.str.contains(r"[^\s\x1c-\x1f]")


def has_null(column: pl.Expr) -> pl.Expr:
    """Return whether a list has a null in it; null for null."""
    return column.list.eval(pl.element().is_null()).list.any()
