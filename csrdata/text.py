"""Make text from elsewhere safe to print: answers, prompts, paths, names, messages of a Hub or a library.

Control characters act on a terminal: they clear it, change its title, hide or reorder text. `printable` shows each one as a
Python escape. All printed text passes through it once, where it is laid out; JSON passes through `json_text`.
"""

import json
import unicodedata
from dataclasses import asdict, is_dataclass

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

_SELECTORS = range(0xE0100, 0xE01F0)
"""The block "Variation Selectors Supplement": invisible characters, each of which can hide a byte."""
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (bidi overrides, zero-width, tags), lone surrogate, line and paragraph separator."""


def printable(text: object, *, encoding: str = "utf-8", keep: str = "") -> str:
    r"""Return text in which every character that controls a terminal, is invisible or reorders text is an escape.

    Joiners between letters that are not ASCII stay: Persian, Hindi and emoji need them.

    Args:
        text: any object; one that is not a string is converted by `str`.
        encoding: of the terminal; characters that it cannot show are escaped too.
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

    A longer text is cut at its end and closed with an ellipsis.
    """
    raw = str(text)
    # Cut first, at a multiple of the limit: a gigabyte of text must not be escaped to show one line.
    line = printable(" ".join(raw[: 8 * limit].split()))
    whole = len(raw) <= 8 * limit and len(line) <= limit
    return line if whole else line[: limit - 1] + ELLIPSIS


def json_text(value: object) -> str:
    """Return a value or a dataclass as indented JSON in ASCII; control characters and DEL are escaped."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, indent=2).replace("\x7f", "\\u007f")


def has_control_characters(text: str) -> bool:
    """Return whether `printable` would escape a character of a text; tab and line feed do not count."""
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
