"""Every way to make pairs, from the kinds that params.yaml may name: a new kind needs its other keys here, or tests fail."""

from itertools import product
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from csrdata.params import Params
from csrdata.sections.method import AnyPairs, MixedPairs

Section = dict[str, Any]

KEYS: dict[str, Section] = {
    "answers": {"margin": 0.1, "max_length_gap": 1.0, "length_balance": None, "per_prompt": 1, "seed": 0},
    "ranked": {"answers": 2, "margin": 0.0, "max_length_gap": 1.0},
    "sentences": {
        "min_gap": 1.0,
        "chosen_share": 0.67,
        "rejected_share": 0.33,
        "repetition_threshold": 0.6,
        "per_prompt": 1,
        "end_gap": 1.0,
        "seed": 0,
    },
    "judged": {},
    "corrupted": {"seed": 0},
    "imported": {"folder": "data/import/mine"},
}
"""By kind: its keys that have no list of words; tests take every word of those that have one, such as `order`."""
MOST_PARTS = 8


def _kinds(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the sections of a union that `kind` tells apart."""
    return get_args(get_args(annotation)[0])


def _kind(model: type[BaseModel]) -> str:
    (kind,) = get_args(model.model_fields["kind"].annotation)
    return str(kind)


def _ways_of(model: type[BaseModel]) -> list[Section]:
    """Return a section for each choice of words of one kind that is no mix."""
    words = {
        name: get_args(field.annotation)
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    return [
        {**dict(zip(words, chosen, strict=True)), **KEYS[_kind(model)]} for chosen in product(*words.values())
    ]


def is_oracle(section: Section) -> bool:
    """Return whether the truth orders the pairs: the one exception."""
    return section.get("order") == "truth"


def _mixes() -> list[Section]:
    """Return mixed pairs which together have every other way of their parts."""
    (inner,) = get_args(MixedPairs.model_fields["parts"].annotation)
    parts = [way for model in _kinds(inner) for way in _ways_of(model) if not is_oracle(way)]
    count = -(-len(parts) // MOST_PARTS)
    return [{"kind": "mixed", "parts": parts[start::count]} for start in range(count)]


def _name(way: Section) -> str:
    return "-".join(str(way[key]) for key in ("kind", "order", "ends") if key in way)


_ALL = {
    _name(way): way for model in _kinds(AnyPairs) if model is not MixedPairs for way in _ways_of(model)
} | {f"mixed-{number}": way for number, way in enumerate(_mixes())}
ORACLES = {name: way for name, way in _ALL.items() if is_oracle(way)}
WAYS = {name: way for name, way in _ALL.items() if not is_oracle(way)}
"""Sections `select_pairs`, by name: those of an oracle, and all others."""
KINDS = {_kind(model) for model in _kinds(AnyPairs)}


def with_way(params: Params, way: Section) -> Params:
    """Return parameters with another section `select_pairs`."""
    return Params.model_validate(params.model_dump() | {"select_pairs": way})
