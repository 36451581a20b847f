"""Strings that a terminal would obey, hide, reorder or read as markup, by name."""

NASTY = {
    "clear the screen": "cat\x1b[2J\x1b[31mred",
    "retitle the window": "\x1b]0;owned\x07",
    "one-byte escape": "a\x9b31mb",
    "C1": "a\x84b\x85c",
    "bell, backspace, delete": "a\x07b\x08c\x7fd",
    "carriage return": "first\rsecond",
    "line feed": "first\nsecond",
    "tab, form feed": "a\tb\x0cc",
    "nul": "a\x00b",
    "bidi override": "txt.\u202egpj\u202c",
    "bidi isolate": "a\u2066b\u2069",
    "bidi mark": "a\u200eb\u200fc",
    "line separators": "a\u2028b\u2029c",
    "zero width": "pay\u200bpal\ufeff",
    "joiner between letters": "pay\u200dpal",
    "tag characters": "flag\U000e0041\U000e007f",
    "variation selectors": "a\U000e0100b",
    "soft hyphen": "a\u00adb",
    "markup": "[red]red[/red] [link=file:///x]y[/link]",
    "unclosed markup": "[/bold]",
    "emoji code": ":warning:",
    "backslash": "a\\[b]\\",
}

SURROGATE = "a\ud800b\udcff"
"""No table can hold it; a name or a message can."""

CONTROL = {chr(code) for code in (*range(32), *range(127, 160))} - {"\n"}
HIDDEN = {*"\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u00ad"}


def unsafe(text: str) -> set[str]:
    """Return the characters of a text that must not reach a terminal; a line feed may."""
    return {
        char
        for char in text
        if char in CONTROL | HIDDEN or "\ud800" <= char <= "\udfff" or "\U000e0000" <= char <= "\U000e01ff"
    }
