"""Folders of trained models: a finished folder is kept if training would give the same model again.

Training a model takes minutes. After an interruption, a finished folder is kept if all its training settings equal the
current ones and every file still has the bytes that were written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from csrdata.errors import UserError
from csrdata.storage.disk import SUMS, atomic_folder, check_sums, read_json, write_json, write_sums
from csrdata.storage.tables import fingerprint

SETTINGS_FILE = "training.json"
"""The file in a model's folder that holds its training settings. Model loaders ignore it."""


def is_complete(folder: Path, settings: Mapping[str, object]) -> bool:
    """Return whether a folder was finished with these settings, and none of its files has changed since."""
    try:
        saved = read_json(folder / SETTINGS_FILE, made_by="")
        check_sums(folder, made_by="")
    except UserError:
        return False
    return (folder / SUMS).is_file() and fingerprint(saved=saved) == fingerprint(saved=settings)


@contextmanager
def whole_folder(folder: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """Yield a temporary folder; on success, add its settings and hashes, and let it replace `folder`.

    Raises:
        UserError: `folder` holds something that was not trained here; it is not changed.
    """
    with atomic_folder(folder, replaces=SETTINGS_FILE) as partial:
        yield partial
        write_json(partial / SETTINGS_FILE, settings)
        write_sums(partial)
