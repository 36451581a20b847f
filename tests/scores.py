"""Copies of pairs with other fields, for tests."""

from dataclasses import fields, replace
from typing import Any

from csrdata.records import Pair, PairScores

_OF_SCORES = {field.name for field in fields(PairScores)}


def pair_with(pair: Pair, **changes: Any) -> Pair:
    """Return a copy of a pair with some fields changed, in the pair or in its scores."""
    scores = {name: value for name, value in changes.items() if name in _OF_SCORES}
    own = {name: value for name, value in changes.items() if name not in _OF_SCORES}
    return replace(pair, scores=replace(pair.scores, **scores), **own)


def without_scores(pair: Pair, *, origin: str = "judge") -> Pair:
    """Return a copy of a pair without scores."""
    return replace(pair, origin=origin, scores=PairScores())
