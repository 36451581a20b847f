"""The image files under a folder, and which of them a name means: files move between folders, their names stay.

COCO's images have two names, `COCO_train2014_000000000123.jpg` and `000000000123.jpg`; either finds either. The folder is
walked once; only names are read.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from csrdata.errors import UserError
from csrdata.images import EXTENSIONS
from csrdata.sources.rows import parse_image
from csrdata.storage.disk import hash_path

SUFFIXES = frozenset({*(f".{extension}" for extension in EXTENSIONS.values()), ".jpeg", ".tif"})
_COCO = re.compile(r"^COCO_(?:train|val|test)\d{4}_(?=\d+\.\w+$)")


def image_files(root: Path, folder: str) -> Iterator[str]:
    """Yield the paths of all image files under a folder, relative to the root, as the file system has them.

    Args:
        root: the images root.
        folder: relative to it; `.` is the root itself. Links to folders inside it are not followed.

    Raises:
        UserError: there is no such folder, or it is outside the root.
    """
    top = _folder(root, folder)
    for where, folders, names in os.walk(top):
        folders.sort()
        inside = PurePosixPath(folder) / Path(where).relative_to(top).as_posix()
        for name in names:
            if PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield (inside / name).as_posix()


class ImageIndex:
    """Finds images by name."""

    def __init__(self, root: Path, folder: str) -> None:
        """Walk the folder; see `image_files`."""
        self._root, self._folder = root, PurePosixPath(folder)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in image_files(root, folder):
            self._by_name[_plain_name(path)].append(path)

    def find(self, name: str, *, place: str) -> str:
        """Return the path of the image that a name means, relative to the root.

        A path that is there as it is written comes first, then one that ends with it, then a file of the same name. A name
        that means no file gives the path where it would be.

        Args:
            name: a file name, or a path with folders before it.
            place: what names the image, for the error's first words.

        Raises:
            UserError: the name means several files, and their contents differ.
        """
        direct = (self._folder / name).as_posix()
        named = self._by_name.get(_plain_name(name), [])
        choices = (
            [path for path in named if path == direct],
            [path for path in named if path.endswith(f"/{name}")],
            [path for path in named if PurePosixPath(path).name == PurePosixPath(name).name],
            named,
        )
        found = next((some for some in choices if some), None)
        return (
            direct
            if found is None
            else parse_image(self._only(sorted(found), name, place=place), place=place)
        )

    def _only(self, paths: Sequence[str], name: str, *, place: str) -> str:
        """Return the first of several files with the same content."""
        if len(paths) > 1 and len({hash_path(self._root / path) for path in paths}) > 1:
            raise UserError(
                f"{place}: image {name}",
                got=f"{len(paths)} different files: {paths[0]}, {paths[1]}",
                expected="one file of this name under source.folder",
                do="name a smaller folder in params.yaml: source.folder, then: dvc repro",
            )
        return paths[0]


def _plain_name(path: str) -> str:
    return _COCO.sub("", PurePosixPath(path).name)


def _folder(root: Path, folder: str) -> Path:
    place, do = "params.yaml: source.folder", "fix params.yaml, then: dvc repro"
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
        raise UserError(place, got=folder, expected="a folder inside images.root, relative to it", do=do)
    top = root / folder
    if not top.is_dir():
        raise UserError(place, got=folder, expected=f"a folder inside images.root ({root})", do=do)
    return top
