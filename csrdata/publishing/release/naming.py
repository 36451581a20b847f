"""Names of images in a release: `images/SHA256.EXT`, from their content and format.

A path reveals something about its project, and a stranger's path may lead anywhere. A name by content does neither, and
equal images have the same name. All tables of a release take their names from one mapping.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import polars as pl

from csrdata.errors import UserError
from csrdata.images import image_extension
from csrdata.publishing.release.columns import Images
from csrdata.publishing.release.layout import IMAGES, PROJECT_IMAGES, image_name, parse_image_name

MADE_BY = "dvc repro sample_prompts; or leave the bytes out: csrdata push --images reference"


AT_ONCE = 64
"""Items that are handed to a thread together: one at a time, handing over takes longer than decoding a small image."""

T = TypeVar("T")
S = TypeVar("S")


def image_names(paths: Iterable[str], *, root: Path, images: Images, do: str = MADE_BY) -> dict[str, str]:
    """Return the name of each different image, by its path in the project. Each image is decoded, on all cores.

    Args:
        paths: relative to `root`.
        root: the project's folder.
        images: with `reference`, an image of a pulled project may be missing, because its path contains its name.
        do: the next command if an image is missing.

    Raises:
        UserError: a path leads out of the project, or an image is missing or unreadable.

    Example: `{"data/images/7.png": "images/5f....png"}`
    """
    different = list(dict.fromkeys(paths))
    # Each decoder ignores warnings, and threads share their settings: here all are ignored, and set back at the end.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = in_threads(lambda path: _name(path, root, images, do), different)
    return dict(zip(different, found, strict=True))


def in_threads(work: Callable[[T], S], items: Sequence[T]) -> list[S]:
    """Return the result of some work on each item, in order; it runs on all cores that this process may use."""
    parts = [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]
    with ThreadPoolExecutor(_threads()) as pool:
        return [one for done in pool.map(lambda part: [work(one) for one in part], parts) for one in done]


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rename(table: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Return a table of prompts or pairs with `names` in place of paths in its column `image`; other paths stay."""
    return table.with_columns(pl.col("image").replace(names))


def same_names(pairs: pl.DataFrame, *, root: Path) -> pl.DataFrame:
    """Return a project's pairs with a release's image names, to compare them; a missing image keeps its path."""
    known = [
        path
        for path in pairs["image"].unique()
        if is_inside(path) and ((root / path).is_file() or _pulled_name(path) is not None)
    ]
    return rename(pairs, image_names(known, root=root, images="reference"))


def image_bytes(path: str, *, root: Path, do: str = MADE_BY) -> bytes:
    """Return an image file's bytes.

    Raises:
        UserError: the path leads out of the project, or the file is missing.
    """
    place, inside = f"image {path}", is_inside(path)
    try:
        file = (root / path).resolve(strict=True) if inside else root
        if inside and file.is_relative_to(_resolved(root.absolute())):
            return file.read_bytes()
    except (OSError, ValueError, RuntimeError):  # also for a cycle of links, or a name that is too long
        raise UserError(place, got="no such file", expected="the image that a prompt names", do=do) from None
    raise UserError(place, got="a path out of the project", expected="a path inside its root", do=do)


@cache
def _resolved(root: Path) -> Path:
    return root.resolve()


def is_inside(path: str) -> bool:
    """Return whether a path is POSIX, relative, and stays inside the folder that it is relative to.

    Example: "data/images/7.png" -> True; "/etc/passwd", "../x", "~/x", "C:\\x", "" -> False
    """
    parts = PurePosixPath(path).parts
    return bool(parts) and not (
        path.startswith(("/", "~")) or ".." in parts or "\\" in path or PureWindowsPath(path).drive
    )


def _name(path: str, root: Path, images: Images, do: str) -> str:
    known = _pulled_name(path)
    if images == "reference" and known is not None and not (root / path).exists():
        return known
    content = image_bytes(path, root=root, do=do)
    extension = image_extension(content, place=f"image {path}", do=do)
    return image_name(sha256(content).hexdigest(), extension)


def _pulled_name(path: str) -> str | None:
    """Return the image name in a path that a pull wrote; None for any other path.

    Example: "data/images/5f....png" -> "images/5f....png"
    """
    if not path.startswith(f"{PROJECT_IMAGES}/"):
        return None
    name = f"{IMAGES}/{path.removeprefix(f'{PROJECT_IMAGES}/')}"
    return None if parse_image_name(name) is None else name
