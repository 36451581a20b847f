"""Which layout a row of a file of preference pairs has: the standard columns, or a trainer's form.

The forms are those that `csrdata export` writes and the trainers' loaders read: TRL (texts or conversations), LLaVA with
`rejected_conversations`, LLaMA-Factory, and ms-swift.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from csrdata.errors import UserError
from csrdata.sources.imported.formats import Columns, RawPair, of_columns, povid, said
from csrdata.sources.rows import MARK

LAYOUTS = "the columns prompt, chosen and rejected, or a form of TRL, LLaVA, LLaMA-Factory or ms-swift"

Read = Callable[[Mapping[str, Any]], RawPair]


def layout_of(row: Mapping[str, Any], *, place: str) -> tuple[str, Read]:
    """Return the name of a row's layout, and what reads such rows.

    Raises:
        UserError: the row has none of the layouts.
    """
    keys = set(row)
    if {"conversations", "rejected_conversations"} <= keys:
        return "llava", _llava
    if {"messages", "rejected_response"} <= keys:
        return "ms-swift", _ms_swift
    if {"conversations", "chosen", "rejected"} <= keys:
        return "llama-factory", _llama_factory
    if {"chosen", "rejected"} <= keys and keys & {"prompt", "question"}:
        return "columns", _columns
    raise UserError(
        f"{place}: columns",
        got=", ".join(sorted(map(str, keys))) or "none",
        expected=LAYOUTS,
        do="csrdata import --help",
    )


def _columns(row: Mapping[str, Any]) -> RawPair:
    image = next((row[name] for name in ("image", "images", "file_names") if row.get(name) is not None), None)
    named = {**row, "image": image, "prompt": row.get("prompt", row.get("question"))}
    return _without_mark(of_columns(named, Columns()))


def _llava(row: Mapping[str, Any]) -> RawPair:
    return _without_mark(povid({"image": None, **row}))


def _ms_swift(row: Mapping[str, Any]) -> RawPair:
    messages = row["messages"]
    if not isinstance(messages, list) or len(messages) != 2:
        raise _wrong("messages", messages, "a question and an answer")
    question, chosen = ([message] for message in messages)
    return _without_mark(
        RawPair(_first(row.get("images")), said(question), said(chosen), row["rejected_response"])
    )


def _llama_factory(row: Mapping[str, Any]) -> RawPair:
    turns = row["conversations"]
    if not isinstance(turns, list) or len(turns) != 1:
        raise _wrong("conversations", turns, "one question")
    named = {"conversations": turns[0], "chosen": row["chosen"], "rejected": row["rejected"]}
    texts = [_value(name, turn) for name, turn in named.items()]
    return _without_mark(RawPair(_first(row.get("images")), *texts))


def _without_mark(pair: RawPair) -> RawPair:
    """Return a pair whose instruction has no mark of the image."""
    if not isinstance(pair.prompt, str):
        return pair
    return replace(pair, prompt=pair.prompt.replace(MARK, "").strip())


def _first(images: object) -> object:
    return images[0] if isinstance(images, list) and len(images) == 1 else images


def _value(name: str, turn: object) -> object:
    if not isinstance(turn, Mapping) or "value" not in turn:
        raise _wrong(name, turn, "an object with value")
    return turn["value"]


def _wrong(name: str, got: object, expected: str) -> UserError:
    return UserError(name, got=got, expected=expected, do="csrdata import --help")
