"""Folders of trained models: kept when they are what would be trained again.

A trained model costs minutes: after a kill, the folders that were finished are taken as they are, provided that their
settings (every one that they come from) are the present ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from csrdata.tables import atomic_folder, fingerprint, read_json, write_json

SETTINGS_FILE = "training.json"
"""Beside the weights: the settings a model was trained with. The loaders pass it by."""


def is_complete(folder: Path, settings: Mapping[str, object]) -> bool:
    """The folder was finished, with these very settings."""
    path = folder / SETTINGS_FILE
    return path.is_file() and fingerprint(saved=read_json(path, made_by="")) == fingerprint(saved=settings)


@contextmanager
def whole_folder(folder: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """A temporary sibling to write into; it takes the folder's place, with its settings, when all went well."""
    with atomic_folder(folder) as partial:
        yield partial
        write_json(partial / SETTINGS_FILE, settings)
