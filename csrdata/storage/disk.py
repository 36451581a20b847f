"""Files that are complete or absent: atomic writes, JSON, hashes, and disk errors that name the file.

A writer works in a temporary file or folder with a unique name and holds a lock on it. Two writers of one path therefore
never share a temporary name, and the next writer recognises what a dead process left behind: nobody holds its lock.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.storage import strict_json

PARTIAL = ".partial"
"""Suffix of a file or folder that is being written."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk is full, or a quota or file-size limit is reached."""
DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""The file system is read-only, or this user has no permission."""
BLOCKED = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP}
)
"""Something else is at the path, or the path cannot exist."""

SUMS = "sha256.json"
"""A file with the hash of every other file in a folder that csrdata wrote."""

_MOST_OF_A_NAME = 200


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success, it replaces `path`; on an error, it is removed.

    Raises:
        OSError: the disk refused an operation; the error names `path`, whichever library reported it.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        partial, lock = _new_file(path)
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            os.close(lock)


@contextmanager
def atomic_folder(path: Path, *, replaces: str | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`; on success, it replaces `path`; on an error, it is removed.

    Args:
        path: missing, an empty folder, or an older folder that `replaces` recognises.
        replaces: a glob that matches something in an older folder of the same kind, such as `chain.json`. A folder without
            a match is never removed.

    Raises:
        UserError: something that csrdata did not write is at `path`; it is not changed.
        OSError: the disk refused an operation; the error names `path`, whichever library reported it.
    """
    _check_replaceable(path, replaces)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        partial, lock = _new_folder(path)
        try:
            yield partial
            _check_replaceable(path, replaces)
            _take_place(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, with sorted keys, so that equal values give equal bytes."""
    with atomic_file(path) as partial:
        partial.write_text(
            json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path, *, made_by: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        made_by: the command that makes the file, as an error's next command.

    Raises:
        UserError: the file is missing, is not UTF-8 or not JSON, is nested too deeply, does not hold an object, or holds
            text that no file can hold.
    """
    try:
        value = strict_json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except FileNotFoundError:
        raise UserError(str(path), got="no such file", expected="a JSON file", do=made_by) from None
    except UnicodeDecodeError as error:
        got, expected = f"byte {error.start} is not UTF-8", "JSON in UTF-8"
    except UnicodeEncodeError:  # JSON can spell half a character, as \ud800
        got, expected = "a lone surrogate", "Unicode text"
    except json.JSONDecodeError as error:
        got, expected = f"line {error.lineno}: {error.msg}", "JSON"
    except RecursionError:
        got, expected = "JSON that is nested too deeply", "a JSON object of a few levels"
    except ValueError as error:  # for example, a number of 5,000 digits
        got, expected = str(error), "JSON"
    else:
        if isinstance(value, dict):
            return value
        got, expected = f"a {type(value).__name__}", "a JSON object"
    raise UserError(str(path), got=got, expected=expected, do=made_by) from None


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and contents. Files are read in blocks.

    Raises:
        UserError: the file or folder does not exist.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise UserError(str(path), got="no such file or folder", expected="a file or folder", do="dvc repro")
    digest = hashlib.sha256()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(f"{part.relative_to(path).as_posix()} {hash_path(part)}\n".encode())
    return digest.hexdigest()


def write_sums(folder: Path) -> None:
    """Write the hashes of all files of a folder into it, as `sha256.json`, for `check_sums`."""
    write_json(folder / SUMS, _sums(folder))


def check_sums(folder: Path, *, made_by: str) -> None:
    """Compare the files of a folder with its `sha256.json`. A folder without one was not written by csrdata and passes.

    Raises:
        UserError: a file is missing, changed or not listed; the next command is `made_by`.
    """
    if not (folder / SUMS).is_file():
        return
    wanted, found = read_json(folder / SUMS, made_by=made_by), _sums(folder)
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            got, expected = found.get(name, "no such file"), wanted.get(name, "no such file")
            raise UserError(
                str(folder / name), got=_hash_in_words(got), expected=_hash_in_words(expected), do=made_by
            )


def refusal(error: BaseException) -> int | None:
    """Return the error number (`errno`) of a disk error; None for any other error.

    Libraries written in Rust report disk errors as their own types: `No space left on device (os error 28)`.
    """
    if isinstance(error, UserError):
        return None
    if "No usable temporary directory" in str(error):  # `tempfile` could write to none of them
        return errno.ENOSPC
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(match[1])
    return number if number in FULL | DENIED | BLOCKED else None


@contextmanager
def refusals_in_words(place: str, *, again: str) -> Iterator[None]:
    """Turn a disk error into a `UserError`: the file, what happened, what to change, and the command to run again.

    Args:
        place: named if the error names no file.
        again: the command to run after the problem is solved.
    """
    try:
        yield
    except Exception as error:
        number = refusal(error)
        if number is None:
            raise
        expected, fix = _words(number)
        name = error.filename if isinstance(error, OSError) else None
        raise UserError(
            str(name or place),
            got=os.strerror(number),
            expected=expected,
            do=f"{fix}, then: {again} (what was finished is kept)",
        ) from None


def is_held(lock: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file if it is free, and return whether another process holds it.

    Several processes may hold a shared lock at the same time; then none can take it alone. The kernel releases a lock when
    its holder closes the file or dies. On a file system without locks, return False.
    """
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return {path.relative_to(folder).as_posix(): hash_path(path) for path in files}


def _hash_in_words(value: object) -> str:
    text = str(value)
    return f"SHA-256 {text[:12]}…" if len(text) == hashlib.sha256().digest_size * 2 else text


def _words(number: int) -> tuple[str, str]:
    if number in FULL:
        return "room on the disk", "make room or choose another disk"
    if number in DENIED:
        return "a place that this user can read and write", "change its permissions or choose another folder"
    return "a free path", "move what is in the way"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn every disk error into an `OSError` that names `path`; an error about another file passes unchanged."""
    try:
        yield
    except Exception as error:
        number = refusal(error)
        if number is None:
            raise
        named = str(error.filename or "") if isinstance(error, OSError) else ""
        if named and Path(named) not in (path, *path.parents) and f"{PARTIAL}" not in named:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _check_replaceable(path: Path, replaces: str | None) -> None:
    if path.is_dir() and not path.is_symlink():
        if not any(path.iterdir()) or (replaces is not None and any(path.glob(replaces))):
            return
        got = "a folder that holds other things"
    elif not path.exists() and not path.is_symlink():
        return
    else:
        got = "a link" if path.is_symlink() else "a file"
    raise UserError(
        str(path),
        got=got,
        expected="nothing there, or an older folder of the same kind" if replaces else "nothing there",
        do="move it away or name another folder, then the same command again",
    )


def _take_place(partial: Path, path: Path) -> None:
    """Rename a folder to `path`; on success, the older folder is removed; on an error, it is put back.

    Where the system can exchange two folders, there is no moment without one: a process that is killed leaves the older
    folder or the new one.
    """
    if not path.exists():
        partial.replace(path)
        return
    if _exchange(partial, path):
        shutil.rmtree(partial, ignore_errors=True)
        return
    older = _partial_name(path)
    path.replace(older)
    try:
        partial.replace(path)
    except OSError:
        older.replace(path)
        raise
    shutil.rmtree(older, ignore_errors=True)


AT_FDCWD = -100
"""Linux's name for the current folder, for `renameat2`."""
RENAME_EXCHANGE = 2


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return False, with nothing changed, where the system or the disk cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done: int = rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return done == 0


def _partial_name(path: Path) -> Path:
    return path.with_name(f"{path.name[:_MOST_OF_A_NAME]}.{secrets.token_hex(4)}{PARTIAL}")


def _new_file(path: Path) -> tuple[Path, int]:
    """Create a temporary file of `path` and return it with a descriptor that holds its lock."""
    while True:
        partial = _partial_name(path)
        lock = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        _wait_for(lock)
        if partial.exists():  # if not, another writer removed it as a leftover before it was locked
            return partial, lock
        os.close(lock)


def _new_folder(path: Path) -> tuple[Path, int]:
    while True:
        partial = _partial_name(path)
        partial.mkdir()
        lock = os.open(partial, os.O_RDONLY)
        _wait_for(lock)
        if partial.exists():
            return partial, lock
        os.close(lock)


def _wait_for(lock: int) -> None:
    with suppress(OSError):  # the file system may have no locks
        fcntl.flock(lock, fcntl.LOCK_EX)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders of `path` whose writers are dead."""
    name = re.compile(re.escape(path.name[:_MOST_OF_A_NAME]) + r"\.[0-9a-f]{8}" + re.escape(PARTIAL))
    for leftover in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
        remove_if_dead(leftover)


def remove_if_dead(partial: Path) -> None:
    """Remove a temporary file or folder, unless its writer still holds its lock."""
    with suppress(OSError):
        lock = os.open(partial, os.O_RDONLY)
        try:
            if is_held(lock):
                return
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink()
        finally:
            os.close(lock)
