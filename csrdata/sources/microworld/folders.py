"""Folders of trained models: kept when they are what would be trained again.

A trained model costs minutes: after a kill, the folders that were finished are taken as they are, provided that their
settings (every one that they come from) are the present ones and every file has the bytes that were written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from csrdata.errors import UserError
from csrdata.storage.disk import SUMS, atomic_folder, check_sums, read_json, write_json, write_sums
from csrdata.storage.tables import fingerprint

SETTINGS_FILE = "training.json"
"""In a model's folder: the settings that it was trained with. The loaders ignore it."""


def is_complete(folder: Path, settings: Mapping[str, object]) -> bool:
    """Whether a folder was finished with these settings, and no file of it has changed since."""
    try:
        saved = read_json(folder / SETTINGS_FILE, made_by="")
        check_sums(folder, made_by="")
    except UserError:
        return False
    return (folder / SUMS).is_file() and fingerprint(saved=saved) == fingerprint(saved=settings)


@contextmanager
def whole_folder(folder: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """Give a temporary folder to write into; on success it takes the folder's place, with its settings and hashes.

    Raises:
        UserError: the folder holds something that was not trained here; it is left as it is.
    """
    with atomic_folder(folder, replaces=SETTINGS_FILE) as partial:
        yield partial
        write_json(partial / SETTINGS_FILE, settings)
        write_sums(partial)
