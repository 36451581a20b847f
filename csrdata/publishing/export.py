"""Preference pairs as a folder that another trainer reads: one file of rows, and the images beside it.

The folder stands on its own: paths are relative, images are copies, so that it can be moved, zipped or mounted. It is
there whole or not at all. What a row looks like is `csrdata.publishing.formats`' business.
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from csrdata.errors import UserError
from csrdata.publishing.disk import new_folder
from csrdata.publishing.formats import FORMATS, IMAGES, Format, Row
from csrdata.publishing.naming import is_inside
from csrdata.records import Pair
from csrdata.tables import write_json


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    folder: Path
    pairs: int
    images: int
    """Different images: pairs of one image share its copy."""
    usage: str
    """How the trainer is told of it."""


def export(pairs: Sequence[Pair], *, to: str, folder: Path, root: Path, name: str) -> Exported:
    """Write pairs in a trainer's format, in the order given, each image once.

    Args:
        pairs: one or more.
        to: a key of `FORMATS`.
        folder: gets the files; must not exist, or be empty.
        root: the folder that the pairs' image paths are relative to.
        name: what a trainer that names its data sets calls this one: letters, digits and underscores.

    Raises:
        UserError: no such trainer; nothing to export; the folder has something in it or cannot be written; a pair has equal
            answers; a text holds what the trainer replaces; an image is missing, is none, or lies outside `root`.
    """
    if to not in FORMATS:
        raise UserError(
            "--to", got=to, expected=f"one of {', '.join(FORMATS)}", do="csrdata export --to trl DIR"
        )
    chosen = FORMATS[to]
    if not pairs:
        raise UserError("pairs to export", got="none", expected="1 or more", do="csrdata stats")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            str(folder), got="something is there", expected="a new or empty folder", do="name another folder"
        )
    for pair in pairs:
        _check_texts(pair, chosen, to=to)
    names = image_names([pair.image for pair in pairs])
    try:
        with new_folder(folder) as partial:
            _write_rows(
                partial / chosen.file, (chosen.row(pair, f"{IMAGES}/{names[pair.image]}") for pair in pairs)
            )
            for file, value in (chosen.beside(name, chosen.file) if chosen.beside else {}).items():
                write_json(partial / file, value)
            for image, copied in names.items():
                _copy_image(root / image, partial / IMAGES / copied, image=image)
    except OSError as error:
        raise UserError(
            str(folder),
            got=error.strerror or str(error),
            expected="room and the right to write there; nothing was written",
            do="make room or name another folder",
        ) from None
    return Exported(folder, len(pairs), len(names), chosen.usage.format(folder=folder, name=name))


def image_names(images: Iterable[str]) -> dict[str, str]:
    """Return a short name for each different image: its path below the folder that all of them share.

    Example: `a/coco/train/1.jpg`, `a/coco/val/1.jpg` -> `train/1.jpg`, `val/1.jpg`

    Raises:
        UserError: a path is absolute, or leads out of the project.
    """
    different = list(dict.fromkeys(images))
    for image in different:
        if not is_inside(image):
            raise UserError(
                f"image {image}",
                got="a path out of the project",
                expected="one relative to its root",
                do="dvc repro sample_prompts",
            )
    shared = os.path.commonpath([PurePosixPath(image).parent for image in different])
    return {image: PurePosixPath(image).relative_to(shared).as_posix() for image in different}


def _check_texts(pair: Pair, chosen: Format, *, to: str) -> None:
    """A trainer would train on an equal pair without a word, and take a placeholder in a text for one more image."""
    texts = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    do = f"mend or leave out prompt {pair.prompt_id}, then: dvc repro"
    if pair.chosen.strip() == pair.rejected.strip():
        raise UserError(f"pair {pair.prompt_id}", got="two equal answers", expected="different ones", do=do)
    for name, text in texts.items():
        place = f"pair {pair.prompt_id}: {name}"
        if not text.strip():
            raise UserError(place, got=text, expected="a text", do=do)
        found = [word for word in chosen.reserved if word in text]
        if found:
            raise UserError(place, got=found[0], expected=f"a text without it: {to} replaces it", do=do)


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows one a line, bracketed as a list where the file is no `.jsonl`; memory holds one row."""
    opening, between, closing = ("", "\n", "\n") if path.suffix == ".jsonl" else ("[\n", ",\n", "\n]\n")
    with path.open("w", encoding="utf-8") as file:
        file.write(opening)
        for position, row in enumerate(rows):
            file.write((between if position else "") + json.dumps(row, ensure_ascii=False))
        file.write(closing)


def _copy_image(source: Path, target: Path, *, image: str) -> None:
    do = f"dvc checkout, then look at {image}"
    try:
        with Image.open(source) as found:
            found.verify()
    except FileNotFoundError:
        raise UserError(f"image {image}", got="no such file", expected="an image", do=do) from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(f"image {image}", got=str(error), expected="a readable image", do=do) from None
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
