"""Turn a pydantic error about a file into one line: key, value, expectation; for an unknown key, the nearest valid one."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from csrdata.errors import UserError


def explain(
    error: ValidationError, model: type[BaseModel], raw: Mapping[Any, Any], *, place: str, do: str
) -> UserError:
    """Return pydantic's first error as one line. Unknown keys come first, because they explain missing ones.

    Works for any model of sections, optional values, dictionaries and unions with a literal discriminator such as `kind`.

    Args:
        error: raised when `raw` was validated by `model`.
        model: of the whole file.
        raw: the whole file as read.
        place: the file, for the error.
        do: the next command, for the error.
    """
    found = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    keys = _keys(found["loc"], raw)
    got, expected = found["input"], _expectation(found["msg"])
    if found["type"] == "extra_forbidden":
        got, expected = "an unknown key", _nearest(keys, _valid_keys(model, found["loc"][:-1]))
    elif found["type"] in {"missing", "union_tag_not_found"}:
        got, expected = "no such key", "a value"
    elif found["type"] == "union_tag_invalid":
        got, expected = found["ctx"]["tag"], f"one of {found['ctx']['expected_tags']}"
    elif found["loc"][-1] == "[key]":
        expected = f'text: "{keys[-1]}"'
    if found["type"].startswith("union_tag"):
        keys.append(found["ctx"]["discriminator"].strip("'"))
    return UserError(f"{place}: {'.'.join(keys)}", got=got, expected=expected, do=do)


def _keys(location: Sequence[int | str], raw: Any) -> list[str]:
    """Return the keys of the file in a pydantic location, which also contains types and union tags."""
    keys = []
    for number, part in enumerate(location):
        # A missing key is the last part and is not in the dictionary.
        if isinstance(raw, dict) and (part in raw or number == len(location) - 1) and part != "[key]":
            keys.append(str(part))
            raw = raw.get(part)
        elif isinstance(raw, dict) and any(str(key) == part for key in raw):
            keys.append(str(part))
            raw = next(value for key, value in raw.items() if str(key) == part)
    return keys


def _valid_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that the model has at a location; for a union, those of the member that the tag selects."""
    types: list[Any] = [model]
    for part in location:
        inside = [kind.model_fields[part].annotation for kind in types if _has_field(kind, part)]
        inside += [get_args(kind)[1] for kind in types if get_origin(kind) is dict]
        tagged = [kind for kind in types if _is_tagged(kind, part)]
        types = [kind for one in tagged or inside or types for kind in _members(one)]
    return list(dict.fromkeys(key for kind in types if _is_model(kind) for key in kind.model_fields))


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the types behind an annotation: the type in an `Annotated`, and each member of a union."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _has_field(kind: Any, name: object) -> bool:
    return _is_model(kind) and name in kind.model_fields


def _is_tagged(kind: Any, tag: object) -> bool:
    """Return whether a model has a literal field with this value: the discriminator of its union."""
    return _is_model(kind) and any(
        get_origin(field.annotation) is Literal and get_args(field.annotation) == (tag,)
        for field in kind.model_fields.values()
    )


def _nearest(keys: Sequence[str], valid: Sequence[str]) -> str:
    """Return the valid key that was probably meant, as a dotted path; if none is similar, all valid keys."""
    near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    return ".".join([*keys[:-1], near[0]]) if near else f"one of {', '.join(valid)}"


def _expectation(message: str) -> str:
    """Return the expectation in a pydantic message.

    Example: "Input should be less than or equal to 1" -> "a value less than or equal to 1"
    """
    return message.replace("Input should be", "a value").replace("a value a valid", "a valid")
