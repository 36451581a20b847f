"""Folders written whole or not at all, and kept when they are what would be written again.

A trained model costs minutes: after a kill, the folders that were finished are taken as they are, provided that their
fingerprint (of every setting they come from) is the present one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FINGERPRINT_FILE = "training.json"
"""Beside the weights: the settings a model was trained with. The loaders pass it by."""


def is_complete(folder: Path, settings: Mapping[str, object]) -> bool:
    """The folder was finished, with these very settings."""
    path = folder / FINGERPRINT_FILE
    return path.is_file() and path.read_text(encoding="utf-8") == _as_text(settings)


@contextmanager
def whole_folder(folder: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """A temporary sibling to write into; it takes the folder's place, with its settings, when all went well."""
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    (temporary / FINGERPRINT_FILE).write_text(_as_text(settings), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def digest(folder: Path) -> str:
    """SHA-256 over names and bytes of a folder's files: what a model trained on top of another depends on."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _as_text(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"
