"""COCO's annotation files: `instances_*.json` and `captions_*.json`, read with every value checked.

Several files are one collection: the images of train and validation, for example. Outlines and boxes, nearly all of a file,
are dropped while it is parsed. An annotation whose image or category the files do not list is refused, with its row.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation_sets.base import malformed
from csrdata.storage.strict_json import unique
from csrdata.storage.values import MAX_NAME, MAX_PATH, MAX_TEXT

_KEPT = frozenset(
    {"images", "annotations", "categories", "id", "image_id", "category_id", "file_name", "name", "caption"}
)
_ID = 10**18
"""Ids are whole numbers below it."""


@dataclass(frozen=True)
class Instances:
    """What segmentation says of some images."""

    files: Mapping[int, str]
    """File name by image id."""
    objects: Mapping[int, frozenset[str]]
    """Categories by image id; an image without annotated objects has an empty set."""
    categories: tuple[str, ...]
    """Names, in the order of their ids."""


@dataclass
class _Collected:
    files: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    objects: dict[int, set[str]] = field(default_factory=dict)


def read_instances(paths: Sequence[Path]) -> Instances:
    """Read one or more `instances_*.json`.

    Raises:
        UserError: a file is missing, is not JSON of COCO's form, contradicts an earlier one, or annotates an image or a
            category that it does not list.
    """
    found = _Collected()
    for path in paths:
        raw = _read(path, "instances")
        for place, entry in _entries(raw, "categories", path):
            number, name = _whole(entry, "id", place), _text(entry, "name", place, limit=MAX_NAME)
            if found.names.setdefault(number, name) != name:
                raise malformed(f"{place}.name", name, f"{found.names[number]}, as in an earlier file")
        for place, entry in _entries(raw, "images", path):
            number, file = _whole(entry, "id", place), _text(entry, "file_name", place, limit=MAX_PATH)
            if found.files.setdefault(number, file) != file:
                raise malformed(
                    f"{place}.file_name", file, f"{found.files[number]}, the other file of this id"
                )
        for place, entry in _entries(raw, "annotations", path):
            image = _known(entry, "image_id", found.files, place, "the id of an image of these files")
            category = _known(entry, "category_id", found.names, place, "the id of a category of these files")
            found.objects.setdefault(image, set()).add(found.names[category])
    if len(set(found.names.values())) < len(found.names):
        raise malformed(str(paths[0]), "two categories with one name", "different names")
    if len(set(found.files.values())) < len(found.files):
        raise malformed(str(paths[0]), "two images with one file_name", "different files")
    return Instances(
        found.files,
        {image: frozenset(found.objects.get(image, ())) for image in found.files},
        tuple(name for _, name in sorted(found.names.items())),
    )


def read_captions(paths: Sequence[Path], images: Mapping[int, str]) -> dict[int, list[str]]:
    """Read one or more `captions_*.json`; return the captions by image id, in the order of the files.

    Args:
        paths: one or more.
        images: file name by image id; every caption is about one of them.

    Raises:
        UserError: a file is missing, is not JSON of COCO's form, or describes an image that is not in `images`.
    """
    found: dict[int, list[str]] = {}
    for path in paths:
        for place, entry in _entries(_read(path, "captions"), "annotations", path):
            image = _known(entry, "image_id", images, place, "the id of an image of the instances files")
            found.setdefault(image, []).append(_text(entry, "caption", place, limit=MAX_TEXT))
    return found


def image_path(folder: str, name: str, *, place: str) -> str:
    """Return the path of an image, relative to the images root.

    Args:
        folder: of the images, relative to the images root.
        name: of the file, relative to `folder`.
        place: what names it, for the error.

    Raises:
        UserError: the name is not a relative path with forward slashes, leads out of the folder or is too long.
    """
    parts = PurePosixPath(name)
    path = (PurePosixPath(folder) / parts).as_posix()
    plain = name.isprintable() and name.strip() and not re.match(r"[A-Za-z]:|.*\\", name)
    if not plain or parts.is_absolute() or ".." in parts.parts or len(path) > MAX_PATH:
        expected = f"a file name inside {folder}, with forward slashes, at most {MAX_PATH:,} characters"
        raise malformed(place, ascii(name), expected)
    return path


def _read(path: Path, kind: str) -> dict[str, Any]:
    """Return a file's object, without what nobody here reads."""
    if not path.is_file():
        do = "put it there or correct evaluation_sets in params.yaml, then: dvc repro"
        raise UserError(str(path), got="no such file", expected=f"COCO's {kind}_*.json", do=do)
    try:
        raw = json.loads(path.read_bytes(), object_pairs_hook=_without_outlines)
    except RecursionError:
        raise malformed(str(path), "JSON that is nested too deeply", f"COCO's {kind}") from None
    except ValueError as error:  # UnicodeDecodeError is one too
        raise malformed(str(path), str(error), f"JSON of COCO's {kind}") from None
    if not isinstance(raw, dict):
        raise malformed(str(path), f"a {type(raw).__name__}", f"a JSON object of COCO's {kind}")
    return raw


def _without_outlines(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in unique(pairs).items() if key in _KEPT}


def _entries(raw: dict[str, Any], key: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and value of each object of a list."""
    values = raw.get(key)
    if not isinstance(values, list):
        got = "no such key" if key not in raw else f"a {type(values).__name__}"
        raise malformed(f"{path}: {key}", got, "a list of objects")
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise malformed(f"{path}: {key}[{number}]", value, "an object")
        yield f"{path}: {key}[{number}]", value


def _whole(entry: dict[str, Any], key: str, place: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _ID:
        raise malformed(f"{place}.{key}", value, "a whole number, 0 or more")
    return value


def _known(entry: dict[str, Any], key: str, known: Mapping[int, str], place: str, expected: str) -> int:
    value = _whole(entry, key, place)
    if value not in known:
        raise malformed(f"{place}.{key}", value, expected)
    return value


def _text(entry: dict[str, Any], key: str, place: str, *, limit: int) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise malformed(f"{place}.{key}", value, "a text")
    if len(value) > limit:
        raise malformed(f"{place}.{key}", f"{len(value):,} characters", f"at most {limit:,} characters")
    return value
