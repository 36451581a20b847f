"""Text that is not ours, made safe to print: answers, prompts, paths, names, a Hub's message, what a library said.

A terminal obeys control characters: they clear it, retitle it, hide or reorder text. `printable` shows each as an escape, as
Python writes it. Printed text is always passed through it once, where it is laid out; JSON goes through `json_text`.
"""

import json
import unicodedata
from dataclasses import asdict, is_dataclass

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

_SELECTORS = range(0xE0100, 0xE01F0)
"""Variation selectors supplement: invisible, and each can carry a byte."""
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (bidi overrides, zero-width, tags), lone surrogate, line and paragraph separator."""


def printable(text: object, *, encoding: str = "utf-8", keep: str = "") -> str:
    r"""Return text with every character that a terminal would obey, hide or reorder shown as an escape.

    Joiners between letters that are not ASCII stay: Persian, Hindi and emoji need them.

    Args:
        text: anything; what is no string is shown by `str`.
        encoding: of the terminal; what it cannot show is escaped too.
        keep: control characters that stay, such as a line feed.

    Example: `printable("a\x1b[31m")` -> `a\x1b[31m`, eight visible characters
    """
    raw = str(text)
    shown = "".join(
        char if char in keep or _is_safe(raw, index) else _escape(char) for index, char in enumerate(raw)
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def one_line(text: object, *, limit: int) -> str:
    """Return text as one printable line of at most `limit` characters; runs of white space become one space.

    Its end is the part that is cut, and an ellipsis says so.
    """
    raw = str(text)
    # Cut first, at a multiple of the limit: a text of a gigabyte is not escaped to show a line of it.
    line = printable(" ".join(raw[: 8 * limit].split()))
    whole = len(raw) <= 8 * limit and len(line) <= limit
    return line if whole else line[: limit - 1] + ELLIPSIS


def json_text(value: object) -> str:
    """Return a value, or a dataclass by its fields, as indented JSON in ASCII; control characters and DEL are escaped."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, indent=2).replace("\x7f", "\\u007f")


def has_control_characters(text: str) -> bool:
    """Say whether a text holds what `printable` would escape; tab and line feed do not count."""
    return printable(text, keep="\t\n") != text


def _is_safe(text: str, index: int) -> bool:
    char = text[index]
    if " " <= char <= "~":
        return True
    if char in _JOINERS:
        return 0 < index < len(text) - 1 and not (text[index - 1] + text[index + 1]).isascii()
    return unicodedata.category(char) not in _UNSAFE and ord(char) not in _SELECTORS


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
