"""Pairs with other scores: what a test changes of a pair, wherever the field is."""

from dataclasses import fields, replace
from typing import Any

from csrdata.records import Pair, PairScores

_OF_SCORES = {field.name for field in fields(PairScores)}


def pair_with(pair: Pair, **changes: Any) -> Pair:
    """Return a pair with some fields of its own, or of its scores, changed."""
    scores = {name: value for name, value in changes.items() if name in _OF_SCORES}
    own = {name: value for name, value in changes.items() if name not in _OF_SCORES}
    return replace(pair, scores=replace(pair.scores, **scores), **own)


def without_scores(pair: Pair, *, origin: str = "judge") -> Pair:
    """Return a pair as another way makes it: the texts, and no score."""
    return replace(pair, origin=origin, scores=PairScores())
