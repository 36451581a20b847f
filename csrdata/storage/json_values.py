"""Typed reading of a JSON file: each value is read with its place, so that a wrong one is reported in one line.

`open_json` returns the file's object as a `JsonValue`; its methods return parts of it, or plain values of one type.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from csrdata.errors import UserError
from csrdata.storage.disk import read_json


@dataclass(frozen=True, slots=True)
class JsonValue:
    """One value of a JSON file. Each method raises `UserError` where the value is of another type."""

    value: object
    path: Path
    made_by: str
    """The command that makes the file, for the error's last words."""
    keys: tuple[str, ...] = ()
    """From the file's object to the value."""

    def items(self, *, needs: Sequence[str] = ()) -> dict[str, "JsonValue"]:
        """Return an object's values by key, in the order of the file; keys in `needs` must be there."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        for key in needs:
            if key not in self.value:
                self._at(key, None).refuse("a value", got="no such key")
        return {key: self._at(key, value) for key, value in self.value.items()}

    def fields(self, *names: str) -> dict[str, "JsonValue"]:
        """Return the values of an object that has these keys and no others."""
        found = self.items(needs=names)
        for key, value in found.items():
            if key not in names:
                value.refuse(f"one of {', '.join(names)}", got="an unknown key")
        return found

    def array(self, *, of: str = "values") -> list["JsonValue"]:
        """Return an array's values; `of` says what they are, for the error."""
        if not isinstance(self.value, list):
            self.refuse(f"an array of {of}")
        return [self._at(str(position), value) for position, value in enumerate(self.value)]

    def texts(self) -> list[str]:
        """Return an array of texts."""
        return [one.text() for one in self.array(of="texts")]

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            self.refuse("a text")
        return self.value

    def count(self) -> int:
        """Return a whole number, 0 or more."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            self.refuse("a whole number, 0 or more")
        return self.value

    def number(self, *, finite: bool = True) -> float:
        """Return a number; a whole one stays an `int`, so that it is written as it was read."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.refuse("a number")
        if finite and isinstance(self.value, float) and not math.isfinite(self.value):
            self.refuse("a finite number")
        return self.value

    def number_or_none(self, *, finite: bool = True) -> float | None:
        """Return a number; None for null."""
        return None if self.value is None else self.number(finite=finite)

    def refuse(self, expected: str, *, got: str | None = None) -> NoReturn:
        """Raise the error that names the place, the value or `got`, and what was expected."""
        place = f"{self.path}: {'.'.join(self.keys)}" if self.keys else str(self.path)
        raise UserError(place, got=self.value if got is None else got, expected=expected, do=self.made_by)

    def _at(self, key: str, value: object) -> "JsonValue":
        return JsonValue(value, self.path, self.made_by, (*self.keys, key))


def open_json(path: Path, *, made_by: str) -> JsonValue:
    """Read a JSON file whose outermost value is an object.

    Args:
        made_by: the command that makes the file, for the error's last words.

    Raises:
        UserError: see `read_json`.
    """
    return JsonValue(read_json(path, made_by=made_by), path, made_by)
