"""One row of a source of real data, and what its values must be: they come from strangers' files.

A row is checked where it is read, so that an error names the file and the row. What is checked here is what the table of
prompts takes (`csrdata.storage.values`).
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from csrdata.errors import UserError
from csrdata.storage.values import MAX_NAME, MAX_PATH, MAX_PROMPT

MARK = "<image>"
"""Where LLaVA's files show the image within a text; the chat template puts the real one there."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt of a source, and where it was read."""

    row_id: str
    """Unique in the source, the same when the source grows: becomes the prompt's id."""
    kind: str
    """The kind of prompt: the sample has each kind in proportion."""
    image: str
    """Path of the image, relative to the images root; or what the source finds it by."""
    text: str
    place: str
    """File and row, for the words of errors."""


def parse_id(value: object, *, place: str) -> str:
    """Return an id: a text, or a whole number as text.

    Raises:
        UserError: it is something else, blank, too long, or has control characters.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str):
        raise wrong(f"{place}: id", value, "a text or a whole number")
    return _plain(value, place=f"{place}: id", limit=MAX_NAME, what="an id")


def parse_kind(value: object, *, place: str) -> str:
    """Return a kind of prompt. Raises `UserError` as `parse_id` does."""
    if not isinstance(value, str):
        raise wrong(f"{place}: kind", value, "a text")
    return _plain(value, place=f"{place}: kind", limit=MAX_NAME, what="a kind of prompt")


def parse_image(value: object, *, place: str) -> str:
    """Return the path of one image: relative, with forward slashes, without `..`.

    Raises:
        UserError: there is no image or more than one, or the path is something else.
    """
    place = f"{place}: image"
    if isinstance(value, list | tuple) and len(value) != 1:
        raise wrong(place, f"{len(value)} images", "exactly 1 image")
    if isinstance(value, list | tuple):
        (value,) = value
    if value is None:
        raise wrong(place, "no image", "exactly 1 image")
    if not isinstance(value, str):
        raise wrong(place, value, "the path of an image")
    path = _plain(value, place=place, limit=MAX_PATH, what="the path of an image")
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:|.*\\", path):
        raise wrong(
            place, path, "a path relative to images.root of params.yaml, with forward slashes, without `..`"
        )
    return parts.as_posix()


def parse_text(value: object, *, place: str) -> str:
    """Return an instruction without the image's mark and the white space around it.

    Raises:
        UserError: it is not a text, blank or too long, or the mark is within it or there twice.
    """
    if not isinstance(value, str):
        raise wrong(f"{place}: prompt", value, "a text")
    text = value.strip()
    text = text.removeprefix(MARK) if text.startswith(MARK) else text.removesuffix(MARK)
    text = text.strip()
    if MARK in text:
        expected = f"at most one {MARK}, before or after the text (a prompt has one image)"
        raise wrong(f"{place}: prompt", value, expected)
    if not text or not _encodes(text) or "\0" in text or len(text) > MAX_PROMPT:
        got = f"{len(text):,} characters" if len(text) > MAX_PROMPT else ascii(value)
        raise wrong(f"{place}: prompt", got, f"Unicode text of 1 to {MAX_PROMPT:,} characters without NUL")
    return text


def column(values: dict[str, object], name: str, *, place: str, key: str) -> object:
    """Return a row's value of a column.

    Args:
        values: the row, by column.
        name: of the column.
        place: file and row.
        key: where params.yaml names the column.

    Raises:
        UserError: there is no such column.
    """
    if name not in values:
        raise missing_column(name, values, place=place, key=key)
    return values[name]


def missing_column(name: str, names: Collection[str], *, place: str, key: str) -> UserError:
    """Return the error for a column that is not there; it lists those that are."""
    known = ", ".join(sorted(names)) or "none"
    return wrong(f"{place}: column {name}", "no such column", f"one of {known} (params.yaml: {key})")


def wrong(place: str, got: object, expected: str) -> UserError:
    """Return the error for a bad value in a source's file."""
    return UserError(place, got=got, expected=expected, do="correct it, then: dvc repro")


def _plain(text: str, *, place: str, limit: int, what: str) -> str:
    printable = _encodes(text) and all(unicodedata.category(char) != "Cc" for char in text)
    if not text.strip() or not printable or len(text) > limit:
        got = f"{len(text):,} characters" if len(text) > limit else ascii(text)
        raise wrong(place, got, f"{what} of 1 to {limit:,} characters without control characters")
    return text


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can write
        return False
    return True
