"""The folder of an import: pairs, what was left out and why, the images, and a record of where they came from.

pairs.parquet     `Pair` rows; an image is named by its content, relative to the folder: images/SHA256.EXT
dropped.parquet   `Dropped` rows: rows of the files with a pair + dropped = rows of the files
images.parquet    `ImageFile` rows
images/           the image files
record.json       the files with their hashes, counts, the commonest reasons, and what was and was not checked

The files are a stranger's. A row that cannot be used is left out with its reason; a file that cannot be read stops the
import.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import csrdata
from csrdata.errors import UserError
from csrdata.images import MAX_BYTES, describe_image, image_extension
from csrdata.records import Dropped, DropReason, ImageFile, Pair, PairScores
from csrdata.search.words import word_count
from csrdata.sources.imported.formats import DO, Format, NoPair, RawPair
from csrdata.sources.imported.reading import rows
from csrdata.sources.rows import parse_image, parse_text
from csrdata.storage.disk import atomic_folder, hash_path
from csrdata.storage.tables import read_rows, to_table, write_json, write_rows
from csrdata.storage.values import MAX_TEXT, check_values

PAIRS, DROPPED, IMAGES = "pairs.parquet", "dropped.parquet", "images.parquet"
FILES, RECORD = "images", "record.json"

AGAIN = "csrdata import"
COMMONEST = 10
"""Details of dropped rows that the record counts."""

NOT_CHECKED = (
    "who wrote the answers, and what decided which one is chosen",
    "the licences of texts and images",
    "whether an image is also among the evaluation images",
    "log-probabilities: there are none, so training cannot check its reference with these pairs",
)
"""What no import can check."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought."""

    pairs: int
    dropped: dict[str, int]
    """Rows without a pair, by the `DropReason`s that occur."""
    images: int
    left_out: dict[str, int] = field(default_factory=dict)
    """Of rows with a pair: two answers that are no pair, by the `DropReason`s that occur."""
    commonest: str | None = None
    """The commonest detail of the rows without a pair; None if there is none."""


@dataclass(frozen=True, slots=True)
class Brought:
    """The tables of an import."""

    pairs: list[Pair]
    dropped: list[Dropped]
    images: list[ImageFile]


def bring(files: Sequence[Path], *, to: Path, name: str, layout: str, form: Format, images: Path) -> Imported:
    """Write the folder of an import, completely or not at all.

    Args:
        files: one or more, read in this order. A row's id is `name` and its number over all files.
        to: the folder: new, empty, or an older import, which is replaced.
        name: becomes the pairs' `origin`: a-z, 0-9 and _, a letter first.
        layout: the name of `form`, for the record.
        form: how a row becomes a pair.
        images: the folder that image paths of rows are relative to.

    Raises:
        UserError: a file cannot be read, or no row has a pair.
    """
    described = [_describe(path) for path in files]
    with atomic_folder(to, replaces=RECORD) as partial:
        (partial / FILES).mkdir()
        reader = _Reader(name, form, images=images, folder=partial)
        every = (row for path in files for row in rows(path, form.columns))
        for number, row in enumerate(every):
            reader.take(number, row)
        if not reader.pairs:
            first = reader.dropped[0].detail if reader.dropped else "no row"
            raise UserError(f"{len(files)} files", got=f"no pair; {first}", expected="1 or more pairs", do=DO)
        details = Counter((row.reason, row.detail) for row in reader.dropped).most_common(COMMONEST)
        check_values(to_table(reader.pairs, Pair), Pair, place="the imported pairs", made_by=AGAIN)
        write_rows(partial / PAIRS, reader.pairs, Pair)
        write_rows(partial / DROPPED, reader.dropped, Dropped)
        used = {pair.image for pair in reader.pairs}
        known = [file for image, file in sorted(reader.images.items()) if image in used]
        write_rows(partial / IMAGES, known, ImageFile)
        dropped = dict(sorted(Counter(row.reason for row in reader.dropped).items()))
        left_out = dict(sorted(reader.left_out.items()))
        record = {
            "name": name,
            "layout": layout,
            "files": described,
            "rows": reader.rows_with_pair + len(reader.dropped),
            "rows_with_pair": reader.rows_with_pair,
            "pairs": len(reader.pairs),
            "left_out": left_out,
            "dropped": dropped,
            "commonest": [
                {"rows": count, "reason": reason, "detail": detail} for (reason, detail), count in details
            ],
            "images": len(known),
            "compared_with": list(form.compared_with),
            "not_checked": [*form.not_checked, *NOT_CHECKED],
            "csrdata": csrdata.__version__,
        }
        write_json(partial / RECORD, record)
    commonest = details[0][0][1] if details else None
    return Imported(len(reader.pairs), dropped, len(known), left_out, commonest)


def read(folder: Path) -> Brought:
    """Read the tables of an import; the images are checked when they are used.

    Raises:
        UserError: a table is missing or damaged, or a pair names an image that the import does not list.
    """
    pairs = read_rows(folder / PAIRS, Pair, made_by=AGAIN)
    images = read_rows(folder / IMAGES, ImageFile, made_by=AGAIN)
    known = {file.image for file in images}
    for pair in pairs:
        if pair.image not in known:
            place, got = str(folder / IMAGES), f"no row for {pair.image}"
            raise UserError(place, got=got, expected="one for each image of a pair", do=AGAIN)
    return Brought(pairs, read_rows(folder / DROPPED, Dropped, made_by=AGAIN), images)


class _Reader:
    """Takes rows one by one: each becomes pairs or a reason."""

    def __init__(self, name: str, form: Format, *, images: Path, folder: Path) -> None:
        self.pairs: list[Pair] = []
        self.dropped: list[Dropped] = []
        self.rows_with_pair = 0
        self.left_out: Counter[str] = Counter()
        self.images: dict[str, ImageFile] = {}
        """By path in the folder."""
        self._name, self._form = name, form
        self._root, self._folder = images, folder
        self._by_path: dict[str, str | NoPair] = {}

    def take(self, number: int, row: Mapping[str, Any]) -> None:
        """Keep the pairs of a row, or the reason why it has none."""
        row_id = f"{self._name}-{number:09d}"
        try:
            kept, left_out = self._pairs(row_id, row)
        except NoPair as none:
            self.dropped.append(Dropped(row_id, none.reason.value, str(none)))
        except UserError as error:
            self.dropped.append(Dropped(row_id, DropReason.BAD_ROW.value, _detail(error)))
        else:
            self.pairs += kept
            self.rows_with_pair += 1
            self.left_out.update(none.reason.value for none in left_out)

    def _pairs(self, row_id: str, row: Mapping[str, Any]) -> tuple[list[Pair], list[NoPair]]:
        """Return the pairs of a row, numbered from 0, and why others of its answers are none; one or more pairs.

        Raises:
            NoPair, UserError: the row has no pair: the reason of its first two answers, or its image.
        """
        kept: list[Pair] = []
        left_out: list[NoPair] = []
        image: object = None
        for raw in self._form.pairs(row):
            if isinstance(raw, NoPair):
                left_out.append(raw)
                continue
            image = raw.image
            try:
                kept.append(self._pair(row_id, len(kept), raw))
            except NoPair as none:
                left_out.append(none)
            except UserError as error:
                left_out.append(NoPair(DropReason.BAD_ROW, _detail(error)))
        if not kept:
            raise left_out[0]
        path = self._image(image)
        return [replace(pair, image=path) for pair in kept], left_out

    def _pair(self, row_id: str, number: int, raw: RawPair) -> Pair:
        """Return a pair whose texts are checked; its image is not yet known."""
        prompt = parse_text(raw.prompt, place="row")
        chosen, rejected = (
            _text(value, name) for name, value in (("chosen", raw.chosen), ("rejected", raw.rejected))
        )
        if chosen == rejected:
            raise NoPair(DropReason.EQUAL_TEXTS, "chosen and rejected have one text")
        return Pair(
            prompt_id=row_id,
            number=number,
            image="",
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            origin=self._name,
            scores=PairScores(
                margin=raw.margin,
                chosen_words=word_count(chosen),
                rejected_words=word_count(rejected),
            ),
        )

    def _image(self, value: object) -> str:
        """Return the path of a row's image in the folder, where it is copied the first time."""
        content = value.get("bytes") if isinstance(value, Mapping) else None
        if isinstance(content, bytes):
            return self._keep(content)
        path = parse_image(value.get("path") if isinstance(value, Mapping) else value, place="row")
        if path not in self._by_path:
            self._by_path[path] = self._copy(path)
        found = self._by_path[path]
        if isinstance(found, NoPair):
            raise found
        return found

    def _copy(self, path: str) -> str | NoPair:
        try:
            describe_image(path, root=self._root, place="row", do=DO)
            return self._keep((self._root / path).read_bytes())
        except UserError as error:
            return NoPair(DropReason.BAD_IMAGE, _detail(error))
        except NoPair as none:
            return none

    def _keep(self, content: bytes) -> str:
        """Write an image under the hash of its bytes, once, and return its path."""
        try:
            _check_size(content)
            extension = image_extension(content, place="row: image", do=DO)
            path = f"{FILES}/{sha256(content).hexdigest()}.{extension}"
            if path not in self.images:
                (self._folder / path).write_bytes(content)
                self.images[path] = describe_image(path, root=self._folder, place="row", do=DO)
        except UserError as error:
            raise NoPair(DropReason.BAD_IMAGE, _detail(error)) from None
        return path


def _text(value: object, name: str) -> str:
    """Return an answer without the white space around it, and with line feeds alone as line breaks."""
    if not isinstance(value, str):
        raise UserError(name, got=value, expected="a text", do=DO)
    text = value.replace("\r\n", "\n").strip()
    if not text or len(text) > MAX_TEXT:
        expected = f"a text of 1 to {MAX_TEXT:,} characters"
        raise UserError(name, got=f"{len(text):,} characters", expected=expected, do=DO)
    bad = next(
        (char for char in text if char not in "\n\t" and unicodedata.category(char) in {"Cc", "Cs"}), None
    )
    if bad is not None:
        raise UserError(name, got=ascii(bad), expected="a text without control characters", do=DO)
    return text


def _check_size(content: bytes) -> None:
    if len(content) > MAX_BYTES:
        got, expected = f"{len(content):,} bytes", f"at most {MAX_BYTES:,} bytes"
        raise UserError("row: image", got=got, expected=expected, do=DO)


def _detail(error: UserError) -> str:
    """Return what is wrong with a row, for its reason."""
    return f"{error.place}: got {error.got}, expected {error.expected}"


def _describe(path: Path) -> dict[str, object]:
    """Return the name, size and hash of a file that is read; where it is on this machine is nobody's business."""
    if not path.is_file():
        raise UserError(str(path), got="no such file", expected="a file of pairs", do="correct the path")
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": hash_path(path)}


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts by reason as text. Example: `2 bad_image, 1 equal_texts`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
