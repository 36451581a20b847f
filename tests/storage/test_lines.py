"""Lines of strangers' files: each with its place, bounded, and refused in one line."""

import json
import tracemalloc
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.storage.lines import MAX_LINE, read_json_lines, read_lines


def test_lines_have_their_place(tmp_path: Path) -> None:
    """A byte order mark is no text; a last line without a line feed counts; carriage returns stay."""
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffcaf\u00e9\r\n\nlast".encode())
    assert list(read_lines(path)) == [
        (f"{path}: line 1", "caf\u00e9\r\n"),
        (f"{path}: line 2", "\n"),
        (f"{path}: line 3", "last"),
    ]


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path) -> None:
    """A file of 30 MB without a line feed is refused after the longest allowed line."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 30_000_000)
    tracemalloc.start()
    with pytest.raises(
        UserError, match=r"a.txt: line 1: got a longer line, expected at most 1,000,000 bytes"
    ):
        list(read_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * MAX_LINE
    path.write_bytes(b"x" * (MAX_LINE - 1) + b"\n")
    assert len(list(read_lines(path))) == 1


def test_what_is_not_utf8_is_named(tmp_path: Path) -> None:
    """Lines before it are read."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\ncaf\xe9\n")
    lines = read_lines(path)
    assert next(lines)[1] == "good\n"
    with pytest.raises(UserError, match=r"a.txt: line 2: got byte 3 is not UTF-8, expected UTF-8"):
        next(lines)


def test_blank_lines_are_no_objects(tmp_path: Path) -> None:
    """They are skipped, and places still count them."""
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"a": 1}\n  \n{"a": 2}', encoding="utf-8")
    assert list(read_json_lines(path)) == [(f"{path}: line 2", {"a": 1}), (f"{path}: line 4", {"a": 2})]


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("{", "{"),
        ("[1]", "[1]"),
        ("null", "null"),
        ("[" * 100_000, "JSON that is nested too deeply"),
        ('{"a": 1, "a": 1}', "the key 'a' twice"),
        ('{"a": [{"b": 1, "c": 2, "b": 3}]}', "the key 'b' twice"),
        (json.dumps({"a": 1})[:-1] + ", " + '"b": ' + "1" * 5000 + "}", '{"a": 1, "b": 1111'),
    ],
)
def test_what_is_no_object_is_one_line(tmp_path: Path, line: str, got: str) -> None:
    """Whatever the line holds, its place and its beginning are shown, with the next command."""
    path = tmp_path / "a.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        list(read_json_lines(path))
    assert str(caught.value).startswith(f"{path}: line 1: got {got}")
    assert str(caught.value).endswith("expected a JSON object. Next: correct the file, then: dvc repro")
