"""What the user excludes: ids of prompts and questions and SHA-256 hashes of images, one per line of a file."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from csrdata.errors import UserError
from csrdata.sources.rows import wrong
from csrdata.storage.lines import read_lines

MAX_BYTES = 100_000_000
"""Of a file of what is excluded."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What must not be used."""

    names: Mapping[str, int] = field(default_factory=dict)
    """Ids and hashes, each with the number of its first line."""

    def covers(self, *names: str) -> bool:
        """Return whether one of some names, ids or hashes, is excluded."""
        return bool(self.matching(*names))

    def matching(self, *names: str) -> frozenset[str]:
        """Return those of some names that are excluded."""
        return frozenset(name for name in names if name in self.names)

    def unmatched(self, matched: Collection[str]) -> list[str]:
        """Return the excluded names that are not among some others, in the order of the file."""
        return [name for name in self.names if name not in matched]


def read_exclusion(path: Path) -> Exclusion:
    """Read a file of ids or image hashes (64 hex digits), one per line; blank lines and `# ...` are comments.

    Raises:
        UserError: the file is missing, too large or not UTF-8, or a line is too long.
    """
    if not path.is_file():
        do = "put it there or set source.exclude in params.yaml to null, then: dvc repro"
        raise UserError(str(path), got="no such file", expected="ids or image hashes, one per line", do=do)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise wrong(str(path), f"{size:,} bytes", f"at most {MAX_BYTES:,} bytes")
    names: dict[str, int] = {}
    for number, (_, line) in enumerate(read_lines(path), start=1):
        name = line.strip()
        if name and not name.startswith("#"):
            names.setdefault(name.lower() if re.fullmatch("[0-9a-fA-F]{64}", name) else name, number)
    return Exclusion(names)
