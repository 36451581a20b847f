"""What an unfinished training run leaves for the next one: the reference's log-probabilities, and checkpoints.

Both are in one folder, which belongs to one training run and is removed when the run is finished. `key.json` says what they
were made from. What was made from anything else is removed, and a line on stderr says what has changed. A checkpoint that
was not written to its end, or has changed, is passed over for the one before it.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.storage.disk import SUMS, check_sums, read_json, write_json
from csrdata.storage.tables import check_schema, read_parquet, write_table

KEY = "key.json"
CHECKPOINTS = "checkpoints"
KEPT = 2
"""Checkpoints that are kept: the newest may be unfinished."""

_REFERENCES = "references.parquet"
_NUMBERS = ("chosen", "rejected", "chosen_weighted", "rejected_weighted")
_COUNTS = ("chosen_tokens", "rejected_tokens")
_SCHEMA: dict[str, pl.DataType] = dict.fromkeys(_NUMBERS, pl.Float64()) | dict.fromkeys(_COUNTS, pl.Int64())


@dataclass(frozen=True, slots=True)
class Known:
    """N pairs under the reference; each field holds the chosen answers' values, then those of the rejected ones."""

    whole: tuple[Sequence[float], Sequence[float]]
    """Log-probability of each answer, summed over all tokens, nats."""
    weighted: tuple[Sequence[float], Sequence[float]]
    """The same with the weights of `ld_alpha`."""
    tokens: tuple[Sequence[int], Sequence[int]]
    """How many each answer has, the end included."""


@dataclass(frozen=True, slots=True)
class Work:
    """The folder of an unfinished run."""

    folder: Path
    code: str = ""
    """A hash of the code that trains: other code goes on from nothing of this folder."""

    def open(self, *, references: Mapping[str, str], settings: Mapping[str, str]) -> None:
        """Remove what was made from anything else, and write what this run is made from.

        Args:
            references: hashes of all that the reference's log-probabilities depend on, by name.
            settings: hashes of what only the training itself depends on, by name.
        """
        key = {"references": dict(references), "settings": {**settings, "code": self.code}}
        before = self._key()
        for part, files in (("references", (_REFERENCES, CHECKPOINTS)), ("settings", (CHECKPOINTS,))):
            changed = _changed(before.get(part), key[part])
            left = [name for name in files if (self.folder / name).exists()]
            if changed and left:
                _say(f"{self.folder}: made from other {', '.join(changed)}; {' and '.join(left)} made again")
            if changed:
                self._remove(left)
        write_json(self.folder / KEY, key)

    def references(self, *, pairs: int) -> Known | None:
        """Return the reference's log-probabilities of an earlier run; None if they are missing or damaged."""
        path = self.folder / _REFERENCES
        if not path.is_file():
            return None
        try:
            table = read_parquet(path, made_by="dvc repro")
            check_schema(table, _SCHEMA, place=str(path), made_by="dvc repro")
        except UserError as error:
            _say(f"{error.place}: got {error.got}; computed again")
            return None
        if len(table) != pairs or any(table.select(list(_SCHEMA)).null_count().row(0)):
            _say(f"{path}: got {len(table)} rows for {pairs} pairs, or empty ones; computed again")
            return None
        a, b, c, d, e, f = (table[name].to_list() for name in _SCHEMA)
        return Known((a, b), (c, d), (e, f))

    def keep_references(self, known: Known) -> None:
        """Write the reference's log-probabilities, whole or not at all."""
        values = (*known.whole, *known.weighted, *known.tokens)
        table = pl.DataFrame(dict(zip(_SCHEMA, values, strict=True)), schema=_SCHEMA)
        write_table(self.folder / _REFERENCES, table)

    def checkpoint(self) -> Path | None:
        """Return the newest complete checkpoint, or None. Newer ones are removed."""
        for path in sorted((self.folder / CHECKPOINTS).glob("checkpoint-*"), key=_step, reverse=True):
            if _step(path) and _is_whole(path):
                _say(f"training goes on from step {_step(path)} ({path})")
                return path
            shutil.rmtree(path, ignore_errors=True)
        return None

    def _key(self) -> dict[str, object]:
        if not (self.folder / KEY).is_file():
            return {}
        try:
            return read_json(self.folder / KEY, made_by="dvc repro")
        except UserError:
            return {}

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _changed(before: object, now: Mapping[str, str]) -> list[str]:
    """Return the names of what differs; all of them if it is not known what there was before."""
    if not isinstance(before, dict):
        return sorted(now)
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end and has not changed; say so on stderr if not."""
    if not (checkpoint / SUMS).is_file():
        _say(f"{checkpoint}: not written to its end; the one before it is taken")
        return False
    try:
        check_sums(checkpoint, made_by="dvc repro")
    except UserError as error:
        _say(f"{error.place}: got {error.got}, expected {error.expected}; the checkpoint before it is taken")
        return False
    return True


def _step(checkpoint: Path) -> int:
    """Return the number of steps behind a checkpoint; 0 if its name has none."""
    digits = checkpoint.name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
