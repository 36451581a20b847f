"""Writes a report: one HTML file, or, above `MOST_BYTES`, a folder with a page, its data and its images.

The data is built block by block and kept on disk until its size is known, so that memory does not grow with the pairs. Equal
tables give equal bytes: nothing in the page tells when or where it was written.
"""

import base64
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.images import ImageRoot
from csrdata.report import page
from csrdata.report.blocks import COLUMNS, Names, build_block
from csrdata.report.funnel import funnel, shade
from csrdata.report.series import Series, SeriesReader, ranges
from csrdata.report.thumbnails import thumbnails
from csrdata.storage.disk import atomic_file, atomic_folder, write_json

FORMAT = 1
MOST_BYTES = 150_000_000
"""Of one file: browsers open larger ones slowly."""
BLOCK = 250
"""Prompts of a block."""
IMAGES = 200
"""Images of a payload, where the page holds them."""
PAGE = "index.html"
MARK = "csrdata-report.json"
"""In the folder of a report: only a folder that has it is replaced."""


class Form(StrEnum):
    """What is written."""

    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Content:
    """What a report shows."""

    series: Sequence[Series]
    images: Path | ImageRoot | None
    """The root of the images; None without images to show."""
    drift: Mapping[str, object] | None
    """See `csrdata.report.drift`."""
    figures: Sequence[Mapping[str, object]]
    """See `csrdata.report.figures`."""
    parameters: str
    """The text of params.yaml; empty if it is missing."""
    hashes: Mapping[str, str]
    """SHA-256 of each table, by its path."""
    version: str
    """Of csrdata."""
    revision: str | None = None
    """The git commit, where a person writes the report: a stage that had it would never be up to date."""
    source: str = "this project"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    path: str
    """The page."""
    form: Form
    bytes: int
    """Of all files."""
    series: Mapping[str, int]
    """Pairs, by series."""
    prompts: int
    images: int
    """Images with a thumbnail."""
    images_missing: int


@dataclass(slots=True)
class _Payloads:
    """The data of a page, on disk."""

    folder: Path
    names: list[str] = field(default_factory=list)
    bytes: int = 0

    def add(self, name: str, value: object) -> None:
        content = page.packed(value)
        (self.folder / name).write_bytes(content)
        self.names.append(name)
        self.bytes += len(content)


def write_report(
    content: Content, output: Path, *, form: Form | None, most_bytes: int = MOST_BYTES
) -> Written:
    """Write a report.

    Args:
        content: what it shows.
        output: a file that ends in `.html`, or a folder. A folder may hold an earlier report, which is replaced.
        form: whether data and images are in the page or in files next to it; None chooses by size. A file that has to be a
            folder loses its `.html`; a folder may have a page with everything in it.
        most_bytes: the size from which on the choice is a folder of files.

    Raises:
        UserError: a table is damaged, there is no series, the folder holds other files, or the output cannot be written.
    """
    _check_output(output)
    if not content.series:
        raise UserError(
            "report", got="no pairs", expected="one iteration with pairs", do="dvc repro select_pairs"
        )
    with tempfile.TemporaryDirectory(prefix="csrdata-report-") as scratch:
        data, pictures = _Payloads(Path(scratch) / "data"), Path(scratch) / "images"
        data.folder.mkdir()
        pictures.mkdir()
        facts = _blocks(content, data)
        made, size, missing = _images(content, facts.images, pictures)
        is_folder = form is Form.FOLDER or (form is None and data.bytes + size * 4 / 3 > most_bytes)
        more = {"pictures": made, "missing": missing, "folder": is_folder, "images_per_payload": IMAGES}
        data.add("meta", facts.meta | more)
        if output.suffix == ".html" and not is_folder:
            with atomic_file(output) as partial:
                _write_page(partial, data, pictures, made, beside=None)
            target = output
        else:
            output = output.with_suffix("") if output.suffix == ".html" else output
            with atomic_folder(output, replaces=MARK) as partial:
                write_json(partial / MARK, {"format": FORMAT, "version": content.version})
                _write_page(partial / PAGE, data, pictures, made, beside=partial if is_folder else None)
            target = output / PAGE
    files = output.rglob("*") if output.is_dir() else [output]
    return Written(
        str(target),
        Form.FOLDER if is_folder else Form.FILE,
        bytes=sum(path.stat().st_size for path in files if path.is_file()),
        series=facts.pairs,
        prompts=facts.prompts,
        images=len(made),
        images_missing=missing,
    )


def _check_output(output: Path) -> None:
    """Refuse an output inside something that takes no file, before the tables are read."""
    inside = next(parent for parent in output.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryDirectory(dir=inside, prefix=".csrdata-"):
            pass
    except OSError as error:
        raise UserError(
            str(output),
            got=f"{inside}: {error.strerror}",
            expected="a path inside a folder that you may write",
            do="csrdata report --help",
        ) from None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known when all blocks are written."""

    meta: dict[str, object]
    """For the page."""
    images: list[str]
    """In the order of their numbers."""
    prompts: int
    pairs: dict[str, int]
    """By series."""


def _blocks(content: Content, data: _Payloads) -> _Facts:
    """Write the payloads of all blocks."""
    readers = [SeriesReader(series) for series in content.series]
    every = [reader.ids() for reader in readers]
    ids = pl.concat(every).unique().sort()
    reasons, origins, images = Names(), Names(), Names()
    count = 0
    for count, some in enumerate(ranges(ids, size=BLOCK), start=1):
        read = [(reader.series, reader.read(some[0], some[-1])) for reader in readers]
        block = build_block(some, read, reasons=reasons, origins=origins, images=images)
        data.add(f"index-{count - 1}", block.index)
        data.add(f"details-{count - 1}", block.details)
    funnels = [funnel(reader, prompts=len(own)) for reader, own in zip(readers, every, strict=True)]
    meta: dict[str, object] = {
        "format": FORMAT,
        "source": content.source,
        "blocks": count,
        "block": BLOCK,
        "prompts": len(ids),
        "columns": COLUMNS,
        "reasons": list(reasons.numbers),
        "origins": list(origins.numbers),
        "series": [
            {
                "label": reader.series.label,
                "source": reader.series.source,
                "iteration": reader.series.tables.name,
                "truth": reader.series.known is not None,
                "funnel": asdict(counts),
                "shade": shade(reader),
            }
            for reader, counts in zip(readers, funnels, strict=True)
        ],
        "drift": content.drift,
        "figures": content.figures,
        "parameters": content.parameters,
        "hashes": content.hashes,
        "version": content.version,
        "revision": content.revision,
    }
    pairs = {reader.series.label: counts.pairs for reader, counts in zip(readers, funnels, strict=True)}
    return _Facts(meta, list(images.numbers), len(ids), pairs)


def _images(content: Content, images: Sequence[str], folder: Path) -> tuple[list[int], int, int]:
    """Write the thumbnails; return the numbers of the images that have one, the bytes, and how many have none."""
    if content.images is None:
        return [], 0, len(images)
    made, size = [], 0
    for number, (_, thumbnail) in enumerate(thumbnails(images, root=content.images)):
        if isinstance(thumbnail, bytes):
            (folder / f"{number}.jpg").write_bytes(thumbnail)
            made.append(number)
            size += len(thumbnail)
    return made, size, len(images) - len(made)


def _write_page(
    path: Path, data: _Payloads, pictures: Path, made: Sequence[int], *, beside: Path | None
) -> None:
    """Write the page, with its data in it or, if `beside` is a folder, in files there."""
    is_folder = beside is not None
    with path.open("wb") as file:
        file.write(page.opening(folder=is_folder).encode())
        for name in data.names:
            content = (data.folder / name).read_bytes()
            if beside is None or name == "meta":
                begin, end = page.inert(name)
                file.write(begin.encode() + content + end.encode())
                continue
            begin, end = page.loaded(name)
            (beside / "data").mkdir(exist_ok=True)
            (beside / "data" / f"{name}.js").write_bytes(begin.encode() + content + end.encode())
        if beside is None:
            for name, lines in _image_payloads(pictures, made):
                begin, end = page.inert(name)
                file.write(begin.encode())
                file.writelines(line + b"\n" for line in lines)
                file.write(end.encode())
        else:
            shutil.copytree(pictures, beside / "images")
        file.write(page.closing(folder=is_folder).encode())


def _image_payloads(folder: Path, made: Sequence[int]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each payload of images: `IMAGES` lines, one for each image number, empty where there is no thumbnail."""
    there = set(made)
    for first in range(0, max(there, default=-1) + 1, IMAGES):
        yield (
            f"images-{first // IMAGES}",
            (
                base64.b64encode((folder / f"{number}.jpg").read_bytes()) if number in there else b""
                for number in range(first, first + IMAGES)
            ),
        )
