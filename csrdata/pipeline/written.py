"""Report what a stage wrote: the output files that are new or changed since before it ran."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

ROOTS = ("data", "metrics", "plots", "policies", "scorers")
"""Folders of outputs; logs are not outputs."""

Files = Mapping[str, tuple[int, int, int]]
"""Inode, size in bytes and modification time in ns, by path. The inode shows a file that an equal one replaced."""


def files_now(roots: tuple[str, ...] = ROOTS) -> Files:
    """Return the output files that exist now."""
    found = {}
    for root in roots:
        for entry in _files(root):
            with suppress(FileNotFoundError):  # another process renamed it
                facts = entry.stat()
                found[entry.path] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found


def written(before: Files, after: Files) -> str:
    """Return a sentence on the files that are new or changed, by folder, with the number of rows of tables.

    Example: `wrote 3 files, 40 rows (data/select_pairs/1: 2 files, 40 rows; metrics/select_pairs: 1 file)`
    """
    changed = sorted(Path(path) for path, facts in after.items() if before.get(path) != facts)
    if not changed:
        return "wrote nothing, its outputs were complete"
    files = Counter(path.parent for path in changed)
    rows: Counter[Path] = Counter()
    for path in changed:
        if path.suffix == ".parquet":
            rows[path.parent] += _rows(path)
    each = "; ".join(f"{folder.as_posix()}: {_words(files[folder], rows[folder])}" for folder in files)
    return f"wrote {_words(len(changed), rows.total())} ({each})"


def _files(root: str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        elif entry.is_file():
            yield entry


def _rows(table: Path) -> int:
    import polars as pl

    return int(pl.scan_parquet(table).select(pl.len()).collect().item())


def _words(files: int, rows: int) -> str:
    counted = f"{files:,} file{'' if files == 1 else 's'}"
    return f"{counted}, {rows:,} row{'' if rows == 1 else 's'}" if rows else counted
