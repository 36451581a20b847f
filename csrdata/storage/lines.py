"""Lines of text files from strangers: bounded, UTF-8, each with its place; and JSON Lines on top of them.

A file may have any size: only one line is in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.storage import strict_json

MAX_LINE = 1_000_000
"""Bytes of one line."""
CORRECT = "correct the file, then: dvc repro"


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield place and text of each line, its line feed included; a byte order mark at the beginning is skipped.

    Example of a place: `prompts.csv: line 3`

    Raises:
        UserError: a line has more than `MAX_LINE` bytes, which are not read, or is not UTF-8.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            place = f"{path}: line {number}"
            if len(line) > MAX_LINE:
                raise UserError(
                    place, got="a longer line", expected=f"at most {MAX_LINE:,} bytes", do=CORRECT
                )
            try:
                yield place, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                got = f"byte {error.start} is not UTF-8"
                raise UserError(place, got=got, expected="UTF-8", do=CORRECT) from None


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and object of each line of a JSON Lines file; blank lines are skipped.

    Raises:
        UserError: as for `read_lines`, or a line is not a JSON object, or an object has a key twice.
    """
    for place, line in read_lines(path):
        if not line.strip():
            continue
        got = line.strip()
        try:
            value = strict_json.loads(line)
        except strict_json.DoubledKey as error:
            value, got = None, str(error)
        except RecursionError:
            value, got = None, "JSON that is nested too deeply"
        except ValueError:  # also a number of more than 4,300 digits
            value = None
        if not isinstance(value, dict):
            raise UserError(place, got=got, expected="a JSON object", do=CORRECT)
        yield place, value
