"""Write to folders that the user names, and report a full disk in one line.

A user's folder may hold years of work. csrdata writes only to a new or empty folder and removes only files that it wrote: it
replaces a folder only if it recognises each of its files by hash.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from csrdata.errors import UserError
from csrdata.storage.disk import BLOCKED, FULL, refusal
from csrdata.storage.tables import PARTIAL


@contextmanager
def room(folder: Path, *, expected: str, do: str) -> Iterator[None]:
    """Raise a `UserError` if the disk is full; other errors pass unchanged.

    Args:
        folder: the folder being written, for the error.
        expected: how much room is needed, and what remains of the written files.
        do: how to get room, and the next command.
    """
    try:
        yield
    except Exception as error:
        if refusal(error) not in FULL:
            raise
        raise UserError(str(folder), got="no room on the disk", expected=expected, do=do) from None


@contextmanager
def new_folder(folder: Path, *, replaces: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """Yield an empty temporary folder next to `folder`; on success it replaces `folder`, on an error it is removed.

    Args:
        folder: named by the user; missing, empty, or accepted by `replaces`.
        replaces: returns whether csrdata wrote everything in a folder, so that it may be removed.

    Raises:
        UserError: `folder` is a link or a file, holds something else, or cannot exist. Nothing is changed then.
    """
    _refuse_other(folder, replaces)
    folder = folder.absolute()
    scratch = _scratch(folder)
    try:
        partial = scratch / "new"
        partial.mkdir()
        yield partial
        _refuse_other(folder, replaces)  # it may have changed meanwhile
        old = scratch / "old"
        if folder.is_dir():
            folder.rename(old)
        try:
            partial.rename(folder)
        except OSError:
            if old.is_dir():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(folder: Path) -> Path:
    """Create a temporary folder next to `folder`, with its parents.

    Raises:
        UserError: a file is in the way, or the name is too long.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=PARTIAL, dir=folder.parent))
    except OSError as error:
        if refusal(error) not in BLOCKED:
            raise
        place = error.filename if isinstance(error.filename, str) else str(folder)
        raise UserError(
            place, got=str(error.strerror), expected="a folder to write to", do="name another folder"
        ) from None


def _refuse_other(folder: Path, replaces: Callable[[Path], bool]) -> None:
    if not folder.is_symlink():
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if folder.is_dir() and replaces(folder):
            return
    raise UserError(
        str(folder), got="something is there", expected="a new or empty folder", do="name another folder"
    )
