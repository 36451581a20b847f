"""dvc.lock, read and written without DVC: what each stage ran with, and the hashes of what it read and wrote.

The file is DVC's own, schema 2.0: `dvc status` and `dvc repro` read what is written here, and the other way round.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from csrdata.errors import UserError
from csrdata.storage.disk import PARTIAL, atomic_file

REPRO = "dvc repro"


def read_lock(path: Path) -> dict[str, Any]:
    """Return the stages of a dvc.lock by name, read as DVC reads it: YAML 1.2, in which `1e-07` is a number.

    Raises:
        UserError: the file is missing or is not a dvc.lock.
    """
    try:
        stages = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))["stages"]
        return {str(name): dict(stage) for name, stage in stages.items()}
    except FileNotFoundError:
        raise UserError(str(path), got="no such file", expected="the record of a run", do=REPRO) from None
    except (
        YAMLError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ):
        raise UserError(str(path), got="no stages", expected="a dvc.lock", do=REPRO) from None


def write_stage(path: Path, name: str, stage: Mapping[str, Any]) -> None:
    """Replace one stage of a dvc.lock, atomically; the file is created if it is missing."""
    write_stages(path, {name: stage})


def write_stages(path: Path, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace some stages of a dvc.lock, atomically; the file is created if it is missing."""
    all_stages = read_lock(path) if path.is_file() else {}
    all_stages |= {name: dict(stage) for name, stage in stages.items()}
    text = yaml.safe_dump({"schema": "2.0", "stages": all_stages}, sort_keys=False, allow_unicode=True)
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def entry(path: Path, *, name: str) -> dict[str, Any] | None:
    """Return what dvc.lock says of a file or folder, under a name; None if it does not exist."""
    md5 = dvc_hash(path)
    if md5 is None:
        return None
    found: dict[str, Any] = {"path": name, "hash": "md5", "md5": md5}
    if path.is_file():
        return found | {"size": path.stat().st_size}
    files = _files(path)
    return found | {"size": sum(part.stat().st_size for part in files.values()), "nfiles": len(files)}


def dvc_hash(path: Path) -> str | None:
    """Return the hash of a file or folder as DVC writes it; None if it does not exist.

    A folder's is the MD5 of the JSON list of its files, `.dir` appended. Files that are being written (`*.partial`) do not
    count: .dvcignore leaves them out.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if not path.is_dir():
        return None
    listed = [{"md5": dvc_hash(part), "relpath": name} for name, part in _files(path).items()]
    return (
        hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    )


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by relative POSIX path, in DVC's order."""
    found = {
        part.relative_to(folder).as_posix(): part
        for part in folder.rglob("*")
        if part.is_file() and not any(name.endswith(PARTIAL) for name in part.relative_to(folder).parts)
    }
    return dict(sorted(found.items()))
