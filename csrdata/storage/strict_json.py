"""JSON in which no object has a key twice: two readers of such an object may see two different values."""

import json
from collections.abc import Sequence
from typing import Any


class DoubledKey(ValueError):
    """An object has a key twice."""


def loads(content: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        DoubledKey: an object has a key twice.
        ValueError, RecursionError: as `json.loads`.
    """
    return json.loads(content, object_pairs_hook=unique)


def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values.

    Raises:
        DoubledKey: a key comes twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DoubledKey(f"the key {key!r} twice")
        found[key] = value
    return found
