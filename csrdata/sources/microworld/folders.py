"""Folders of trained models: kept when they are what would be trained again.

A trained model costs minutes: after a kill, the folders that were finished are taken as they are, provided that their
settings (every one that they come from) are the present ones and every file has the bytes that were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.tables import atomic_folder, hash_path, read_json, write_json

SETTINGS_FILE = "training.json"
"""In a model's folder: the settings that it was trained with and the hashes of its files. The loaders ignore it."""


def is_complete(folder: Path, settings: Mapping[str, object]) -> bool:
    """Whether a folder was finished with these settings, and no file of it has changed since."""
    try:
        saved = read_json(folder / SETTINGS_FILE, made_by="")
    except UserError:
        return False
    return saved == _saved(folder, settings)


@contextmanager
def whole_folder(folder: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """Give a temporary folder to write into; on success it takes the folder's place, with its settings and hashes.

    Raises:
        UserError: the folder holds something that was not trained here; it is left as it is.
    """
    with atomic_folder(folder, replaces=SETTINGS_FILE) as partial:
        yield partial
        write_json(partial / SETTINGS_FILE, _saved(partial, settings))


def _saved(folder: Path, settings: Mapping[str, object]) -> dict[str, Any]:
    """Return what the settings file of a folder says, as JSON gives it back."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SETTINGS_FILE)
    hashes = {path.relative_to(folder).as_posix(): hash_path(path) for path in files}
    said: dict[str, Any] = json.loads(json.dumps({"settings": dict(settings), "files": hashes}))
    return said
