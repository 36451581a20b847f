"""Write preference pairs as a folder for another trainer: one file of rows, and the images.

The folder can be moved, zipped or mounted: its paths are relative, and its images are exact copies, named by the SHA-256 of
their bytes. It is written completely or not at all, and nothing that exists is replaced.
`csrdata.publishing.export.formats` defines the rows.
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from csrdata.errors import UserError
from csrdata.publishing.export.formats import FORMATS, IMAGES, Format, Row, Texts
from csrdata.publishing.folders import new_folder
from csrdata.publishing.release.naming import image_bytes, image_names
from csrdata.records import Pair
from csrdata.search.pairs import Form, form
from csrdata.storage.tables import write_json

ANOTHER = "name another folder"

ENDS_OF_LINES = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Characters that JSON allows unescaped, but that some readers treat as a line end."""

BRING = "put the image there (dvc checkout, or csrdata pull), then the same command again"


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export."""

    folder: Path
    pairs: int
    images: int
    """Number of different images by their bytes; pairs with the same image share one copy."""
    usage: str
    """The command or code that loads the folder; the user replaces the upper-case words."""


def export(
    pairs: Sequence[Pair],
    *,
    to: str,
    folder: Path,
    root: Path,
    name: str,
    as_texts: Callable[[Pair], Texts] | None = None,
) -> Exported:
    """Write pairs in a trainer's format, in the order given, each image once.

    If a pair is more than two whole answers, all rows are plain text.

    Args:
        pairs: one or more.
        to: a key of `FORMATS`.
        folder: the target; must be missing or empty.
        root: the folder that the pairs' image paths are relative to.
        name: the dataset's name, for trainers that need one; any character but a letter, digit or underscore becomes `_`.
        as_texts: returns a pair as plain text for the policy; needed for pairs that continue an answer.

    Raises:
        UserError: the trainer is unknown, or cannot continue an answer that was begun; there is no pair; the folder is not
            empty, cannot be written, or has a path that the trainer cannot read; a pair has equal answers; a text is empty,
            is not Unicode, or contains a reserved word; an image is missing, unreadable, or outside `root`.
    """
    if to not in FORMATS:
        raise UserError(
            "--to", got=to, expected=f"one of {', '.join(FORMATS)}", do="csrdata export --to trl DIR"
        )
    chosen = FORMATS[to]
    if not pairs:
        raise UserError("pairs to export", got="none", expected="1 or more", do="csrdata stats")
    continued = next(filter(continues, pairs), None)
    if continued is not None and (chosen.text_row is None or as_texts is None):
        raise _no_such_rows(continued, to)
    _check_folder(folder)
    for pair in pairs:
        _check_texts(pair, chosen, to=to)
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    with _writable(folder) as partial:
        copies = _copy_images([pair.image for pair in pairs], partial / IMAGES, root=root)
        placed = ((pair, f"{IMAGES}/{copies[pair.image]}") for pair in pairs)
        if continued is not None and chosen.text_row is not None and as_texts is not None:
            rows = (chosen.text_row(pair, image, as_texts(pair)) for pair, image in placed)
        else:
            rows = (chosen.row(pair, image) for pair, image in placed)
        _write_rows(partial / chosen.file, rows)
        for file, value in (chosen.extra_files(name, chosen.file) if chosen.extra_files else {}).items():
            write_json(partial / file, value)
    usage = chosen.usage.format(
        python=repr(str(folder / chosen.file)),
        file=shlex.quote(str(folder / chosen.file)),
        folder=shlex.quote(str(folder)),
        name=name,
    )
    return Exported(folder, len(pairs), len(set(copies.values())), usage)


def continues(pair: Pair) -> bool:
    """Return whether a pair is more than two whole answers: it continues an answer, or a side of it has no end."""
    return form(pair) is not Form.ANSWERS


def _no_such_rows(pair: Pair, to: str) -> UserError:
    able = [name for name, known in FORMATS.items() if known.text_row is not None]
    return UserError(
        "--to",
        got=f"{to}, and pair {pair.prompt_id}, number {pair.number}, which continues an answer",
        expected=f"a trainer that can continue one: {', '.join(able)}, or csrdata itself",
        do=f"csrdata export --to {able[0]} DIR, or train here: dvc repro train_dpo",
    )


def _check_folder(folder: Path) -> None:
    """Refuse a folder with content, and a path that a trainer would misread."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(str(folder), got="something is there", expected="a new or empty folder", do=ANOTHER)
    path = str(folder.absolute())
    # `datasets`, which three of the trainers load with, reads brackets and stars as patterns and :: as a chained URL.
    odd = re.search(r"[\[\]*?]|::|://", path)
    unprintable = next((char for char in path if unicodedata.category(char) in {"Cc", "Cs"}), None)
    if odd or unprintable:
        raise UserError(
            str(folder),
            got=odd.group() if odd else ascii(unprintable),
            expected="a path without *, ?, [, ], :: and control characters: trainers read those as patterns",
            do=ANOTHER,
        )


@contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    """Yield the folder of `new_folder`, and turn errors of the disk into one line.

    Raises:
        UserError: the disk is full, the folder cannot be written, or it is no longer new or empty.
    """
    try:
        with new_folder(folder) as partial:
            yield partial
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        str(folder),
        got=error.strerror or str(error),
        expected="room and the right to write there; nothing was written",
        do=f"make room or {ANOTHER}",
    )


def _check_texts(pair: Pair, chosen: Format, *, to: str) -> None:
    """Refuse texts that a trainer would misread: equal answers, an empty text, or a placeholder, which adds an image."""
    texts = {"prompt": pair.prompt, "context": pair.context, "chosen": pair.chosen, "rejected": pair.rejected}
    do = f"correct or leave out prompt {pair.prompt_id}, then: dvc repro"
    alike = pair.chosen.strip() == pair.rejected.strip() and pair.chosen_complete == pair.rejected_complete
    if alike:
        raise UserError(f"pair {pair.prompt_id}", got="two equal answers", expected="different ones", do=do)
    may_be_empty = {"context"} | ({"chosen", "rejected"} if continues(pair) else set())
    for name, text in texts.items():
        place = f"pair {pair.prompt_id}: {name}"
        if not text.strip() and (text or name not in may_be_empty):
            raise UserError(place, got=text, expected="a text", do=do)
        found = [word for word in chosen.reserved if word in text]
        if found:
            raise UserError(place, got=found[0], expected=f"a text without it: {to} replaces it", do=do)
        surrogate = next((char for char in text if unicodedata.category(char) == "Cs"), None)
        if surrogate:
            raise UserError(place, got=ascii(surrogate), expected="Unicode text", do=do)


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one row per line, or a JSON list if the file is not a `.jsonl`; one row is in memory at a time."""
    opening, between, closing = ("", "\n", "\n") if path.suffix == ".jsonl" else ("[\n", ",\n", "\n]\n")
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(opening)
        for position, row in enumerate(rows):
            text = json.dumps(row, ensure_ascii=False).translate(ENDS_OF_LINES)
            file.write((between if position else "") + text)
        file.write(closing)


def _copy_images(images: Iterable[str], folder: Path, *, root: Path) -> dict[str, str]:
    """Copy images, those with equal bytes once; return the name of each copy, by the image's path in the project.

    Example: `data/images/7.png` -> `9f86d081884c7d65...0a08.png`
    """
    folder.mkdir()
    names = image_names(images, root=root, images="embed", do=BRING)
    copies = {image: PurePosixPath(name).name for image, name in names.items()}
    for image, name in copies.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(image_bytes(image, root=root, do=BRING))
    return copies
