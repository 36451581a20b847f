"""The columns of a record's table: its schema, derived from the fields of the dataclass, so that the two always agree."""

import dataclasses
import types
import typing
from dataclasses import dataclass

from csrdata.records import Record

_PRIMITIVES = {str: "String", int: "Int64", float: "Float64", bool: "Boolean"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a record's table: its polars type by name, and whether it may hold nulls."""

    name: str
    dtype: str
    nullable: bool


def columns(record: Record) -> list[Column]:
    """Return the columns of a record's table, in the order of its fields; a nested record contributes its own columns.

    Example: `columns(Dropped)[0]` -> `Column("prompt_id", "String", nullable=False)`
    """
    return _columns(record)


def nested(record: Record) -> dict[str, type]:
    """Return the fields of a record that are records themselves. Example: `nested(Pair)` -> `{"scores": PairScores}`."""
    hints = typing.get_type_hints(record)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and _is_record(hint)}


def _columns(record: type) -> list[Column]:
    found = []
    for name, hint in typing.get_type_hints(record).items():
        found += _columns(hint) if _is_record(hint) else [_column(name, hint)]
    return found


def _is_record(hint: typing.Any) -> bool:
    return dataclasses.is_dataclass(hint)


def _column(name: str, hint: object) -> Column:
    nullable = isinstance(hint, types.UnionType)
    if nullable:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        return Column(name, f"List({_PRIMITIVES[inner]})", nullable)
    return Column(name, _PRIMITIVES[hint], nullable)  # type: ignore[index]
