"""Images for terminals: which terminal takes what, and that the sequences hold the picture."""

import base64
import io
import re

import pytest
from PIL import Image

from csrdata.inspection.terminal_image import LARGEST, Protocol, escapes, protocol_of


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, Protocol.KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, Protocol.KITTY),
        ({"TERM_PROGRAM": "iTerm.app"}, Protocol.ITERM),
        ({"TERM": "foot"}, Protocol.SIXEL),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({}, None),
    ],
)
def test_the_environment_says_what_a_terminal_takes(
    environment: dict[str, str], protocol: Protocol | None
) -> None:
    """Known terminals by their variables; anything else, and a multiplexer, takes no image."""
    assert protocol_of(environment) is protocol


def _shown(text: str, pattern: str) -> Image.Image:
    data = base64.b64decode("".join(re.findall(pattern, text)))
    return Image.open(io.BytesIO(data))


def test_kitty_and_iterm_get_the_picture_shrunk() -> None:
    """The PNG in the sequences has the picture's shape and colour, at most `LARGEST` pixels wide."""
    image = Image.effect_noise((1024, 512), 60).convert("RGB")
    for protocol, pattern in (
        (Protocol.KITTY, r"\x1b_G[^;]*;([^\x1b]*)\x1b\\"),
        (Protocol.ITERM, r"\x1b\]1337;File=inline=1;size=\d+:([^\x07]*)\x07"),
    ):
        assert _shown(escapes(image, protocol), pattern).size == (LARGEST, LARGEST // 2)
    chunks = re.findall(r"\x1b_G([^;]*);", escapes(image, Protocol.KITTY))
    assert chunks[0] == "a=T,f=100,m=1"
    assert chunks[-1] == "m=0"


def test_sixel_by_hand() -> None:
    """Four red pixels over two rows: one band, one colour, each column has the two lowest bits (63 + 3 is B)."""
    drawn = escapes(Image.new("RGB", (4, 2), (255, 0, 0)), Protocol.SIXEL)
    assert drawn == '\x1bPq"1;1;4;2#0;2;100;0;0#0!4B$-\x1b\\\n'
