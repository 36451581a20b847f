"""Bounded reading of untrusted files: JSON, texts and Parquet.

The size of a file is checked first; then it is parsed, and its values are checked. Any error of a library becomes one line.
The footer of a Parquet file states its rows and bytes, so a small file that claims billions of them is refused early. If a
footer is wrong, reading one row group or one batch at a time still limits memory.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from csrdata.errors import UserError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAX_DEPTH = 16
"""The deepest nesting of JSON; parameters have four levels."""
MAX_TEXT = 10_000
"""The most characters of one text in JSON."""

ROWS_PER_BYTE = 16
"""The most rows per byte of a Parquet file. The smallest rows that csrdata writes, two per byte, are dropped prompts with
equal reasons."""
TABLE_ROWS = 5_000_000
"""The most rows of a table that is read into memory: prompts, pairs, dropped."""
GROUP_ROWS = 1_000_000
"""The most rows of a row group, which is read at once; those that csrdata writes hold one shard, a few thousand rows."""
GROUP_BYTES = 1_000_000_000
"""The most decompressed bytes of a row group; those that csrdata writes have 16 MB plus at most one image or one shard."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def read_bounded(path: Path, *, limit: int, do: str) -> bytes:
    """Return a file's bytes.

    Raises:
        UserError: the file is missing, is a link or not a regular file, or is larger than `limit` bytes.
    """
    if path.is_symlink() or not path.is_file():
        raise UserError(str(path), got="no such file", expected="a file", do=do)
    size = path.stat().st_size
    if size > limit:
        raise UserError(str(path), got=f"{size:,} bytes", expected=f"at most {limit:,}", do=do)
    return path.read_bytes()


def parse_json(content: bytes, *, place: str, do: str) -> Any:
    """Parse JSON; refuse numbers that are not finite, lone surrogates and deep nesting.

    Raises:
        UserError: the content is invalid.
    """
    from pydantic_core import from_json

    try:
        return check_value(from_json(content, allow_inf_nan=False))
    except (ValueError, RecursionError) as error:
        raise UserError(place, got=str(error), expected="JSON", do=do) from None


def check_value(value: Any, depth: int = 0) -> Any:
    """Return a JSON value, unchanged; `depth`: levels of nesting around it.

    Raises:
        ValueError: the value is nested too deeply, or contains a text or a number that is refused.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels of nesting")
    if isinstance(value, dict):
        for key, part in value.items():
            check_text(key)
            check_value(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            check_value(part, depth + 1)
    elif isinstance(value, str):
        check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    elif isinstance(value, int) and abs(value) > 1 << 63:
        raise ValueError("a number of more than 64 bits")
    return value


def check_text(text: str) -> str:
    """Return a text, unchanged.

    Raises:
        ValueError: the text is too long, or contains a control character or a lone surrogate.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text of {len(text):,} characters, at most {MAX_TEXT:,} are read")
    refused = _CONTROL.search(text)
    if refused is not None:
        raise ValueError(f"the character U+{ord(refused.group()):04X}")
    return text


def decode_text(content: bytes, *, place: str, do: str) -> str:
    """Return the text of a file: UTF-8, no control characters.

    Raises:
        UserError: the content is invalid.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(place, got=f"byte {error.start} is not UTF-8", expected="text", do=do) from None
    refused = _CONTROL.search(text)
    if refused is not None:
        raise UserError(place, got=f"the character U+{ord(refused.group()):04X}", expected="text", do=do)
    return text


def check_yaml(text: str, *, place: str, do: str) -> None:
    """Check that a text is YAML that is safe to load: without aliases, which may expand, and without deep nesting.

    Raises:
        UserError: the text is not YAML, or not safe.
    """
    depth = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                got = "an alias" if depth <= MAX_DEPTH else f"more than {MAX_DEPTH} levels of nesting"
                raise UserError(place, got=got, expected="plain YAML", do=do)
        yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(place, got=str(error), expected="YAML", do=do) from None


@contextmanager
def open_parquet(path: Path, *, place: str, rows: int | None, do: str) -> "Iterator[pq.ParquetFile]":
    """Open a Parquet file whose footer claims no more than its size allows; turn reading errors into one line.

    Args:
        path: the file.
        place, do: the place and the next command of an error.
        rows: the number of rows in the manifest; None if it is not known.

    Raises:
        UserError: the file is not Parquet, is damaged, or claims a wrong or too large number of rows or bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            _check_footer(parquet.metadata, path.stat().st_size, place=place, rows=rows, do=do)
            yield parquet
    except (pa.ArrowException, EOFError) as error:
        raise _unreadable(error, place=place, do=do) from None
    except OSError as error:
        if error.errno is not None or "No space left" in str(error):  # an error of the disk, not of the file
            raise
        raise _unreadable(error, place=place, do=do) from None


def _unreadable(error: BaseException, *, place: str, do: str) -> UserError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(place, got=first, expected="a readable Parquet file", do=do)


def _check_footer(footer: Any, size: int, *, place: str, rows: int | None, do: str) -> None:
    if rows is not None and footer.num_rows != rows:
        raise UserError(
            place, got=f"{footer.num_rows:,} rows", expected=f"{rows:,}, as its manifest says", do=do
        )
    if footer.num_rows > size * ROWS_PER_BYTE:
        got = f"{footer.num_rows:,} rows in {size:,} bytes"
        raise UserError(place, got=got, expected=f"at most {ROWS_PER_BYTE} rows per byte", do=do)
    counted = 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        counted += group.num_rows
        if not 0 <= group.num_rows <= GROUP_ROWS or not 0 <= group.total_byte_size <= GROUP_BYTES:
            got = f"row group {index} of {group.num_rows:,} rows, {group.total_byte_size:,} bytes"
            raise UserError(
                place, got=got, expected=f"at most {GROUP_ROWS:,} rows, {GROUP_BYTES:,} bytes", do=do
            )
    if counted != footer.num_rows:
        raise UserError(place, got=f"row groups of {counted:,} rows", expected=f"{footer.num_rows:,}", do=do)
