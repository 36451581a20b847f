"""The page itself: its fixed parts (csrdata/report/assets), put into one HTML text with the payloads of the data.

Nothing untrusted is markup. All data is JSON, compressed and in base64, which cannot contain `</script>`; the scripts
write it into text nodes. A content security policy allows the page's own script and style by their hashes and no connection.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files

SCRIPTS = (
    "dom.js",
    "store.js",
    "words.js",
    "charts.js",
    "state.js",
    "labels.js",
    "side.js",
    "gallery.js",
    "filters.js",
    "tree.js",
    "compare.js",
    "panels.js",
    "main.js",
)
"""In the order of the page: a file uses those before it."""


def packed(value: object) -> bytes:
    """Return a value as compressed JSON in base64; equal values give equal bytes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0))


def opening(*, folder: bool) -> str:
    """Return the page up to the place of its data.

    Args:
        folder: whether data and images are files next to the page.
    """
    return _parts(folder=folder)[0]


def closing(*, folder: bool) -> str:
    """Return the page behind its data."""
    return _parts(folder=folder)[1]


def inert(name: str) -> tuple[str, str]:
    """Return what goes before and behind a payload in the page: a script of no language, which nothing runs."""
    return f'<script type="text/plain" id="p-{name}">', "</script>\n"


def loaded(name: str) -> tuple[str, str]:
    """Return what goes before and behind a payload in a file next to the page: a call that hands it over."""
    return f'csrdata_chunk("{name}","', '");\n'


def _parts(*, folder: bool) -> tuple[str, str]:
    style = _asset("page.css")
    script = f'(function () {{\n"use strict";\n{"".join(_scripts())}}})();\n'
    beside = " 'self' file:" if folder else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'{beside}",
            f"style-src '{_hash(style)}'",
            f"img-src data:{beside}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    page = _asset("page.html")
    for name, text in (("policy", policy), ("style", style), ("script", script)):
        page = page.replace(f"{{{{ {name} }}}}", text)
    begin, _, end = page.partition("{{ data }}")
    return begin, end


def _scripts() -> Iterator[str]:
    for name in SCRIPTS:
        yield f"// {name}\n{_asset(name)}\n"


def _asset(name: str) -> str:
    return files("csrdata.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return a text's hash as a content security policy writes it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
