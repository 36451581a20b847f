"""Read a YAML file as DVC reads it: YAML 1.2 through ruamel.yaml. Ambiguous or harmful content is refused with its line.

YAML 1.2 reads `1e-5` as a number and `yes` as text; YAML 1.1, PyYAML's version, does the reverse. DVC writes 1.2, so a file
that `dvc exp run -S` has edited must be read the same way.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from csrdata.errors import UserError
from csrdata.text import has_control_characters

MOST_BYTES = 200_000
"""The largest file; the shipped params.yaml has 14,000 bytes."""
MOST_LEVELS = 20
"""The deepest nesting."""
MOST_NODES = 20_000
"""The most keys, values and collections, counted with every alias expanded: a few nested aliases can expand to billions."""
MOST_DIGITS = 400
"""The most characters of a number; the largest float has 309 digits."""

_BOM = b"\xef\xbb\xbf"
_SAID_BY_VALUES = (ValueError, TypeError, OverflowError, ArithmeticError, LookupError, AttributeError)
"""What ruamel.yaml's constructors raise for a scalar that does not fit its tag, such as `!!int x` or month 99."""


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; None for an empty file.

    Raises:
        UserError: the file is too large, not UTF-8, begins with a byte order mark, is not YAML 1.2, repeats a key, or holds
            control characters, too deep nesting or aliases that expand too far. The error names the line.
    """
    text = _text(path)
    node: Node | None = None
    try:
        with warnings.catch_warnings():
            # If an anchor is defined twice, the second counts, as in DVC; the warning is not needed.
            warnings.simplefilter("ignore")
            node = _loader().compose(text)
            if node is not None:
                _check(node, path)
            return _loader().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refusal(
            path, None if mark is None else mark.line + 1, got=error.problem or str(error)
        ) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refusal(path, line, got=f"the character U+{error.character:04X}") from None
    except (YAMLError, RecursionError, *_SAID_BY_VALUES) as error:
        raise _refusal(path, _line_of_bad_value(node), got=str(error) or type(error).__name__) from None


def _loader() -> Any:
    """Return DVC's loader with a limit on depth, in its Python version, because the C version has no such limit."""
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MOST_LEVELS
    return yaml


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        line = data.count(b"\n") + 1
        raise _refusal(path, line, got=f"more than {MOST_BYTES:,} bytes", expected=f"at most {MOST_BYTES:,}")
    if data.startswith(_BOM):
        raise _refusal(path, 1, got="a byte order mark", expected="UTF-8 without one")
    try:
        # Line ends become line feeds, as in Python's text mode.
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(path, line, got=f"the byte 0x{data[error.start]:02x}", expected="UTF-8") from None


def _check(root: Node, path: Path) -> None:
    for count, node in enumerate(_walk(root)):
        line = node.start_mark.line + 1
        if count >= MOST_NODES:
            raise _refusal(
                path,
                line,
                got=f"more than {MOST_NODES:,} keys and values, aliases written out",
                expected=f"at most {MOST_NODES:,}",
            )
        if not isinstance(node, ScalarNode):
            continue
        if has_control_characters(node.value):
            raise _refusal(path, line, got=node.value, expected="text without control characters")
        if str(node.tag).endswith((":int", ":float")) and len(node.value) > MOST_DIGITS:
            got = f"a number of {len(node.value)} characters"
            raise _refusal(path, line, got=got, expected=f"at most {MOST_DIGITS}")


def _walk(root: Node) -> Iterator[Node]:
    """Yield each node as often as it is used; this never ends if an alias refers to a node that contains it."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, MappingNode):
            waiting.extend(part for pair in reversed(node.value) for part in reversed(pair))
        elif isinstance(node, SequenceNode):
            waiting.extend(reversed(node.value))


def _line_of_bad_value(root: Node | None) -> int | None:
    """Return the line of the first scalar that cannot be constructed alone, or None."""
    for node in () if root is None else _walk(root):
        if isinstance(node, ScalarNode):
            try:
                _loader().constructor.construct_object(node)
            except (YAMLError, *_SAID_BY_VALUES):
                return int(node.start_mark.line) + 1
    return None


def _refusal(path: Path, line: int | None, *, got: str, expected: str = "YAML 1.2") -> UserError:
    place = str(path) if line is None else f"{path}: line {line}"
    return UserError(place, got=got, expected=expected, do=f"fix {path}, then: dvc repro")
