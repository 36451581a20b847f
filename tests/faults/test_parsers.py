"""Whatever bytes a parser of foreign files is given, it returns, or refuses them in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.parsers import PARSERS, Parser

PIECES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 400,
    b"\\ud800",
    "\u202e".encode(),
    b'"' * 3,
    b"[" * 3000,
    b"{}",
    b"[]",
    b'""',
    b"../../x",
    b"\n\n",
    b"\r",
    b"<image>",
    b"&a *a",
    b"!!python/object:os.system",
)
"""What is put into a sound file: what parsers are known to stumble over."""

edits = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 40), st.one_of(st.sampled_from(PIECES), st.binary(max_size=12))
    ),
    max_size=4,
)
"""Where in the file, as a share of its length; how many bytes go; what takes their place."""


@contextmanager
def _sound(parser: Parser) -> Iterator[Path]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        parser.sound(folder)
        yield folder


def _names(parser: Parser) -> str:
    return parser.name


@pytest.mark.parametrize("parser", PARSERS, ids=_names)
def test_a_sound_file_is_taken(parser: Parser) -> None:
    """What the changes below begin from is right."""
    with _sound(parser) as folder:
        parser.read(folder)


@pytest.mark.parametrize("parser", PARSERS, ids=_names)
@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(edits=edits)
def test_a_changed_file_is_taken_or_refused(parser: Parser, edits: list[tuple[float, int, bytes]]) -> None:
    """Some bytes of a sound file are replaced."""
    with _sound(parser) as folder:
        file = folder / parser.file
        content = file.read_bytes()
        for share, length, piece in edits:
            start = int(share * len(content))
            content = content[:start] + piece + content[start + length :]
        file.write_bytes(content)
        parser.refuses(folder)
