"""params.yaml is read as DVC reads it, or refused with its line."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml  # type: ignore[import-untyped]

from csrdata.errors import UserError
from csrdata.strict_yaml import MOST_BYTES, read_yaml
from tests.imports import ROOT

VALUES = """\
- 1e-5
- 1E5
- 1e+5
- .5
- 5.
- -1.5e-3
- 0o17
- 017
- 0x1F
- 0b11
- 1_000
- 1:20
- yes
- No
- on
- "1"
- '1e-5'
- true
- null
- ~
- ''
- .inf
- 1.e5
- 1e5.5
- 1__0
- é
- [1, {a: 2}]
"""


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        VALUES,
        "a: &x {b: 1e-5}\nc: *x\nd: {<<: *x, e: yes}\n",
        "%YAML 1.1\n---\na: yes\n",
        "a: |\n  text\n  more\n",
        "a: 1\r\nb: 2\r\n",
    ],
)
def test_a_value_is_what_dvc_reads(tmp_path: Path, content: str) -> None:
    """Values have the same types: `1e-5` is a number and `yes` a text, as `dvc exp run -S` writes them."""
    path = _file(tmp_path, content)
    found, theirs = read_yaml(path), load_yaml(str(path))
    assert repr(found) == repr(theirs)


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))])
def test_the_shipped_files_are_what_dvc_reads(path: Path) -> None:
    """Every profile, key by key."""
    assert read_yaml(path) == load_yaml(str(path))


def test_yaml_1_2_and_not_1_1(tmp_path: Path) -> None:
    """Where YAML 1.1 and 1.2 differ, YAML 1.2 counts."""
    assert read_yaml(_file(tmp_path, "[1e-5, .5, 0o17, yes, 017]")) == [1e-5, 0.5, 15, "yes", 17]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n"
    for level in range(9)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 'line 3: got found duplicate key "a" with value "3" (original value: "1")'),
        ("a:\n  b: 1\n  b: 2\n", 'line 3: got found duplicate key "b"'),
        ("a:\n  " + "[" * 30 + "]" * 30, "line 2: got maximum depth of data structure exceeded"),
        ("a: " + "[" * 50_000, "line 1: got maximum depth of data structure exceeded"),
        (BOMB, "got more than 20,000 keys and values, aliases written out, expected at most 20,000"),
        ("a: &a\n  - *a\n", "got more than 20,000 keys and values, aliases written out"),
        ("a: 1\n" * MOST_BYTES, f"got more than {MOST_BYTES:,} bytes, expected at most {MOST_BYTES:,}"),
        ("\ufeffa: 1\n", "line 1: got a byte order mark, expected UTF-8 without one"),
        ("a:\n\tb: 1\n", "line 2: got found character '\\t' that cannot start any token"),
        (b"a: 1\nb: \xff\n", "line 2: got the byte 0xff, expected UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: got the byte 0xff, expected UTF-8"),
        ("a: 1\nb: x\0\n", "line 2: got the character U+0000, expected YAML 1.2"),
        ("a: 1\nb: \x1b\n", "line 2: got the character U+001B, expected YAML 1.2"),
        ('a: 1\nb: "\\0"\n', "line 2: got \\x00, expected text without control characters"),
        ('a: 1\nb: "\\uD800"\n', "line 2: got \\ud800, expected text without control characters"),
        ('a: 1\n"\\e[2J": 1\n', "line 2: got \\x1b[2J, expected text without control characters"),
        (f"a: 1\nb: {'1' * 5000}\n", "line 2: got a number of 5000 characters, expected at most 400"),
        (f"a: 1\nb: 0x{'f' * 5000}\n", "line 2: got a number of 5002 characters, expected at most 400"),
        ("a: 1\nb: !!int x\n", "line 2: got invalid literal for int() with base 10: 'x'"),
        ("a: 1\nb: 9999-99-99\n", "line 2: got month must be in 1..12"),
        (
            "a: 1\nb: !!python/object:os.system x\n",
            "line 2: got could not determine a constructor for the tag",
        ),
        ("a: 1\n---\nb: 1\n", "line 2: got but found another document"),
        ("a: 1\nb: *x\n", "line 2: got found undefined alias 'x'"),
        ("a: 1\n{b: 1}: 2\n", "line 2: got"),
        ("a: 'x\n", "got found unexpected end of stream"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    """The error is one line: the file, the line in it, the value, and what to do."""
    path = _file(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    said = str(caught.value)
    assert message in said
    assert said.startswith(str(path))
    assert said.endswith(f"Next: fix {path}, then: dvc repro")
    assert len(said.splitlines()) == 1
