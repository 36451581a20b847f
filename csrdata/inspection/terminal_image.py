"""An image as escape sequences for a terminal that can show one: Kitty's protocol, iTerm2's, or sixel.

Sources: sw.kovidgoyal.net/kitty/graphics-protocol (PNG in chunks of 4,096 characters), iterm2.com/documentation-images.html
(`File=inline=1`), and DEC's sixel format as vt100.net describes it. Only pixels that were decoded here are sent, never the
bytes of a file.
"""

import base64
import io
from collections.abc import Iterator, Mapping
from enum import StrEnum

import numpy as np
from PIL import Image

LARGEST = 512
"""Pixels of the longer side; a larger image is shrunk."""
CHUNK = 4096
COLOURS = 255
"""Of a sixel image."""


class Protocol(StrEnum):
    """How a terminal takes images."""

    KITTY = "kitty"
    ITERM = "iterm"
    SIXEL = "sixel"


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """Return the protocol that a terminal's environment variables state; None if they state none.

    Example: `TERM=xterm-kitty` -> `Protocol.KITTY`; `TERM=xterm-256color` alone -> None
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return None  # a multiplexer swallows or breaks the sequences
    if environment.get("KITTY_WINDOW_ID") or "kitty" in term or program == "ghostty":
        return Protocol.KITTY
    if program in {"iTerm.app", "WezTerm"}:
        return Protocol.ITERM
    if "sixel" in term or term in {"foot", "foot-extra", "mlterm"}:
        return Protocol.SIXEL
    return None


def escapes(image: Image.Image, protocol: Protocol) -> str:
    """Return the sequences that draw an image at the cursor, and the line feed after it.

    Args:
        image: RGB.
        protocol: what the terminal takes.
    """
    small = image.copy()
    small.thumbnail((LARGEST, LARGEST))
    match protocol:
        case Protocol.KITTY:
            drawn = "".join(_kitty(_png(small)))
        case Protocol.ITERM:
            data = _png(small)
            text = base64.b64encode(data).decode("ascii")
            drawn = f"\x1b]1337;File=inline=1;size={len(data)}:{text}\x07"
        case Protocol.SIXEL:
            drawn = _sixel(small)
    return f"{drawn}\n"


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _kitty(data: bytes) -> Iterator[str]:
    text = base64.b64encode(data).decode("ascii")
    for start in range(0, len(text), CHUNK):
        more = int(start + CHUNK < len(text))
        control = f"a=T,f=100,m={more}" if start == 0 else f"m={more}"
        yield f"\x1b_G{control};{text[start : start + CHUNK]}\x1b\\"


def _sixel(image: Image.Image) -> str:
    """Return a sixel image: bands of six rows, one pass per colour, with repeated columns run-length encoded."""
    reduced = image.quantize(COLOURS)
    palette = reduced.getpalette() or []
    pixels = np.asarray(reduced)
    height, width = pixels.shape
    parts = [f'\x1bPq"1;1;{width};{height}']
    for colour in np.unique(pixels):
        red, green, blue = (round(100 * part / 255) for part in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        band = pixels[top : top + 6]
        bits = 1 << np.arange(len(band))[:, None]
        for colour in np.unique(band):
            columns = ((band == colour) * bits).sum(axis=0)
            parts.append(f"#{colour}{''.join(_runs(columns.tolist()))}$")
        parts.append("-")
    return "".join([*parts, "\x1b\\"])


def _runs(columns: list[int]) -> Iterator[str]:
    """Yield the characters of a row, runs of more than three as `!COUNT`."""
    start = 0
    for end in range(1, len(columns) + 1):
        if end == len(columns) or columns[end] != columns[start]:
            count, character = end - start, chr(63 + columns[start])
            yield f"!{count}{character}" if count > 3 else character * count
            start = end
