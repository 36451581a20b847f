"""Text for cards: csrdata's own Markdown is kept, every other value is escaped.

`render` escapes each value that a template prints, unless it is a `Markdown`. A licence, a file name or a manifest from
elsewhere can therefore add no markup, HTML, link, table cell or line. The metadata of a card come from a YAML writer and the
Python code contains literals, so neither needs escaping.
"""

import re
import unicodedata
from collections.abc import Sequence
from importlib import resources
from typing import Any

SPECIAL = re.compile(r"[\\`*{}\[\]#!~$@]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning anywhere in a line of Markdown or of the Hub's dialect; `_` inside a word has none."""
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", "|": "&#124;"})
OPENING = re.compile(r"^(?=>|=|--|[-+](?:\s|$))|^(\d+)(?=[.)](?:\s|$))")
"""What starts a list, a quotation or a heading at the beginning of a line."""
INVISIBLE = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Invisible characters that reorder the text around them."""


class Markdown(str):
    """Text that is already Markdown: written by csrdata, or escaped."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    """Return Markdown that shows a text on one line, without any markup.

    Example: `<b>` a | _b_ -> `&lt;b> a &#124; \\_b\\_`
    """
    if isinstance(text, Markdown):
        return text
    if isinstance(text, int | float):
        return Markdown(text)
    return _closed(_inert(_one_line(text)))


def code(text: object) -> Markdown:
    """Return a text as a code span.

    Example: margin -> `` `margin` ``; a`b -> ``` ``a`b`` ```
    """
    line = _one_line(text)
    runs = {len(run) for run in re.findall("`+", line)}
    ticks = "`" * next(count for count in range(1, len(runs) + 2) if count not in runs)
    padding = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return Markdown(f"{ticks}{padding}{line}{padding}{ticks}")


def prose(text: str) -> Markdown:
    """Return a sentence whose only markup is code between single backticks; the rest of it is escaped.

    Example: `select_pairs.margin`: 0.1 -> 0.2 stays as it is; `<b>` outside of backticks is escaped
    """
    parts = re.split(r"`([^`]+)`", _one_line(text))
    return _closed("".join(code(part) if index % 2 else _inert(part) for index, part in enumerate(parts)))


def fenced(text: str, language: str) -> Markdown:
    """Return a code block whose fence is longer than any run of backticks in it; only printable characters are kept."""
    text = "\n".join("".join(map(_printable, line)).rstrip() for line in text.split("\n"))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{text.strip()}\n{fence}")


def table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> Markdown:
    """Return a table; cells are escaped unless they are Markdown."""
    lines = [heads, [Markdown("---")] * len(heads), *rows]
    return Markdown(
        "\n".join(
            "| " + " | ".join(escape(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
        )
    )


def render(template: str, **values: Any) -> str:
    """Fill in a template of `csrdata/publishing/card/templates/`; a missing value is an error."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    # No autoescape, which escapes only HTML. `finalize` gets every printed value, and escapes Markdown and HTML.
    environment = SandboxedEnvironment(
        autoescape=False,
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = resources.files("csrdata.publishing.card").joinpath(f"templates/{template}")
    text = environment.from_string(source.read_text(encoding="utf-8")).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text)


def _inert(line: str) -> str:
    """Escape characters with a meaning anywhere in a line."""
    return SPECIAL.sub(r"\\\g<0>", line).translate(ENTITIES)


def _closed(line: str) -> Markdown:
    """Escape what has a meaning at the start of a line."""
    return Markdown(OPENING.sub(lambda found: f"{found[1]}\\" if found[1] else "\\", line))


def _one_line(text: object) -> str:
    """Return only the printable characters of a text; white space becomes single spaces."""
    return " ".join("".join(map(_printable, str(text))).split())


def _printable(char: str) -> str:
    """Return a character or its replacement: a space for a control character, nothing for a reordering one."""
    if ord(char) in INVISIBLE:
        return ""
    category = unicodedata.category(char)
    return {"Cs": "\ufffd", "Cc": " ", "Zl": " ", "Zp": " "}.get(category, char)
