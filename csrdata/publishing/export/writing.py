"""Write preference pairs as a folder for another trainer or a viewer: one file of rows, and the images.

The folder can be moved, zipped or mounted: its paths are relative, and its images are exact copies, named by the SHA-256 of
their bytes. It is written completely or not at all, and nothing that exists is replaced.
`csrdata.publishing.export.formats` defines the rows.
"""

import base64
import hashlib
import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

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
    """The command or code that loads the folder; the user replaces the upper-case words. One for each part."""
    parts: Mapping[str, int]
    """Pairs by part: `train` and `validation`; empty without a split."""


PARTS = ("train", "validation")
"""Folders of an export that is split."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask for besides the rows."""

    scores: bool = False
    """Add the fields of `PairScores`, as columns that begin with `score_`."""
    parquet: bool = False
    """Write the rows as Parquet."""
    validation: float | None = None
    """Share of the images whose pairs are for validation, above 0 and below 1; None writes one set."""
    seed: int = 0
    """Decides, with the bytes of an image, on which side it is."""


PLAIN = Options()


def export(
    pairs: Sequence[Pair],
    *,
    to: str,
    folder: Path,
    root: Path,
    name: str,
    as_texts: Callable[[Pair], Texts] | None = None,
    iterations: Sequence[str] | None = None,
    options: Options = PLAIN,
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
        iterations: the iteration of each pair, a column of the rows; None for pairs of one iteration, without the column.
        options: what else is wanted.

    Raises:
        UserError: the trainer is unknown, or cannot continue an answer that was begun; there is no pair; the folder is not
            empty, cannot be written, or has a path that the trainer cannot read; a pair has equal answers; a text is empty,
            is not Unicode, or contains a reserved word; an image is missing, unreadable, or outside `root`; the format has
            no Parquet form or cannot hold an image; or a side of the split would be empty.
    """
    if to not in FORMATS:
        raise UserError(
            "--to", got=to, expected=f"one of {', '.join(FORMATS)}", do="csrdata export --to trl DIR"
        )
    chosen = FORMATS[to]
    if not pairs:
        raise UserError("pairs to export", got="none", expected="1 or more", do="csrdata stats")
    continued = next(filter(continues, pairs), None)
    if continued is not None and not chosen.viewer and (chosen.text_row is None or as_texts is None):
        raise _no_such_rows(continued, to)
    if options.parquet and not chosen.parquet:
        able = ", ".join(one for one, known in FORMATS.items() if known.parquet)
        raise UserError(
            "--parquet",
            got=f"--to {to}, whose loader reads JSON alone",
            expected=able,
            do=f"csrdata export --to {to} DIR",
        )
    _check_folder(folder)
    for pair in pairs:
        _check_texts(pair, chosen, to=to)
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    copies = _names_of(pairs, chosen, to=to, root=root)
    parts = _split(pairs, copies, options)
    file = str(Path(chosen.file).with_suffix(".parquet")) if options.parquet else chosen.file
    made_in: Sequence[str | None] = [None] * len(pairs) if iterations is None else iterations
    details = [_details(pair, one, options) for pair, one in zip(pairs, made_in, strict=True)]
    write_text = as_texts if continued is not None and not chosen.viewer else None
    with _writable(folder) as partial:
        for part, numbers in parts.items():
            target = partial / part
            target.mkdir(exist_ok=True)
            rows = _rows(
                [(pairs[at], details[at]) for at in numbers], chosen, copies, as_texts=write_text, root=root
            )
            if not chosen.embedded:
                _copy_images({pairs[at].image for at in numbers}, copies, target / IMAGES, root=root)
            _write_rows(target / file, rows, key=chosen.key)
            own = f"{name}_{part}" if part else name
            for path, value in (chosen.extra_files(own, file) if chosen.extra_files else {}).items():
                (target / path).parent.mkdir(exist_ok=True)
                write_json(target / path, value)
    usages = []
    for part in parts:
        at = folder / part
        usage = chosen.usage.format(
            python=repr(str(at / file)),
            python_folder=repr(str(at)),
            file=shlex.quote(str(at / file)),
            folder=shlex.quote(str(at)),
            name=f"{name}_{part}" if part else name,
        )
        usages.append(f"# {part}\n{usage}" if part else usage)
    sizes = {part: len(numbers) for part, numbers in parts.items() if part}
    return Exported(folder, len(pairs), len(set(copies.values())), "\n\n".join(usages), sizes)


def side_of_image(sha256: str, *, share: float, seed: int) -> str:
    """Return the part of an image, by its bytes and the seed alone: pairs that are added later move no image.

    Args:
        sha256: of its bytes.
        share: of the images that are for validation, above 0 and below 1.
        seed: another seed, another split.
    """
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {sha256}".encode()).digest()[:8]) / 2**64
    return PARTS[1] if drawn < share else PARTS[0]


def _split(pairs: Sequence[Pair], copies: Mapping[str, str], options: Options) -> dict[str, list[int]]:
    """Return the positions of the pairs of each part; without a split, one part without a name.

    Raises:
        UserError: a side would have no pair.
    """
    share = options.validation
    if share is None:
        return {"": list(range(len(pairs)))}
    sides = {
        image: side_of_image(PurePosixPath(name).stem, share=share, seed=options.seed)
        for image, name in copies.items()
    }
    parts = {part: [at for at, pair in enumerate(pairs) if sides[pair.image] == part] for part in PARTS}
    empty = next((part for part, numbers in parts.items() if not numbers), None)
    if empty is not None:
        raise UserError(
            "--validation",
            got=f"{share:g}, which leaves no image for {empty}",
            expected=f"a share or a --seed that divides the {len(set(copies.values())):,} images",
            do="csrdata export --help",
        )
    return parts


def _details(pair: Pair, iteration: str | None, options: Options) -> dict[str, Any]:
    """Return what is added to the row of a pair."""
    own = {} if iteration is None else {"iteration": iteration}
    scores = {f"score_{name}": value for name, value in asdict(pair.scores).items()}
    return own | (scores if options.scores else {})


def _rows(
    pairs: Sequence[tuple[Pair, Mapping[str, Any]]],
    chosen: Format,
    copies: Mapping[str, str],
    *,
    as_texts: Callable[[Pair], Texts] | None,
    root: Path,
) -> Iterator[Row]:
    """Yield the row of each pair, with its details; `as_texts` makes all of them plain text."""
    for pair, details in pairs:
        name = copies[pair.image]
        image = _data_uri(pair.image, name, root=root) if chosen.embedded else f"{IMAGES}/{name}"
        if as_texts is not None and chosen.text_row is not None:
            row = chosen.text_row(pair, image, as_texts(pair))
        else:
            row = chosen.row(pair, image)
        yield chosen.details(row, details) if details else row


def _data_uri(image: str, name: str, *, root: Path) -> str:
    kind = PurePosixPath(name).suffix.removeprefix(".").replace("jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(image_bytes(image, root=root, do=BRING)).decode()}"


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


def _write_rows(path: Path, rows: Iterable[Row], *, key: str | None) -> None:
    """Write one row per line, a JSON list, an object with the list under a key, or a Parquet table, by the file's ending.

    Of JSON, one row is in memory at a time; of Parquet, all are.
    """
    if path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(
            pa.Table.from_pylist(list(rows)), path
        )  # the types of texts that `datasets` expects
        return
    opening, between, closing = ("", "\n", "\n") if path.suffix == ".jsonl" else ("[\n", ",\n", "\n]\n")
    if key is not None:
        opening, closing = f"{{{json.dumps(key)}: {opening}", f"{closing.rstrip()}}}\n"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(opening)
        for position, row in enumerate(rows):
            text = json.dumps(row, ensure_ascii=False).translate(ENDS_OF_LINES)
            file.write((between if position else "") + text)
        file.write(closing)


def _names_of(pairs: Sequence[Pair], chosen: Format, *, to: str, root: Path) -> dict[str, str]:
    """Return the name of each image's copy, by its path in the project; those with equal bytes have one name.

    Raises:
        UserError: an image is missing, unreadable or outside `root`, or the format cannot hold it or so many.

    Example: `data/images/7.png` -> `9f86d081884c7d65...0a08.png`
    """
    names = image_names((pair.image for pair in pairs), root=root, images="embed", do=BRING)
    copies = {image: PurePosixPath(name).name for image, name in names.items()}
    another = "export to another format, or fewer pairs: csrdata export --help"
    count = len(set(copies.values()))
    if chosen.most_images is not None and count > chosen.most_images:
        expected = f"at most {chosen.most_images:,}, which {to} can hold"
        raise UserError("images", got=f"{count:,}", expected=expected, do=another)
    for image in copies if chosen.largest_image is not None else ():
        stored = 4 * ((root / image).stat().st_size + 2) // 3
        if chosen.largest_image is not None and stored > chosen.largest_image:
            expected = f"at most {chosen.largest_image:,} bytes in base64, which {to} can hold"
            raise UserError(f"image {image}", got=f"{stored:,} bytes", expected=expected, do=another)
    return copies


def _copy_images(images: Iterable[str], copies: Mapping[str, str], folder: Path, *, root: Path) -> None:
    """Copy images under the names of their copies, those with equal bytes once."""
    folder.mkdir()
    for image in sorted(images):
        if not (folder / copies[image]).exists():
            (folder / copies[image]).write_bytes(image_bytes(image, root=root, do=BRING))
