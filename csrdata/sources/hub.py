"""A dataset of the Hub as a source: streamed at one commit, without a copy of the whole.

It is read twice. The first pass draws the sample and decodes no image (from Parquet files it does not even fetch them); the
second writes the images of the sample, each once, under the name of its content. A dataset that needs to run code to
load is refused: `datasets` runs none.

A connection that is cut and a server error are tried again a few times (`csrdata.hub_client`), on top of what `datasets` and
its client try; a stream then goes on at the row that failed.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from csrdata.errors import UserError
from csrdata.hub_client import Connection, connect, hidden_failure
from csrdata.images import MAX_BYTES, image_extension
from csrdata.progress import progress
from csrdata.records import Prompt
from csrdata.sources.rows import Row, missing_column, wrong
from csrdata.sources.sampling import sample
from csrdata.sources.table import Columns, row_id, row_kind, row_text
from csrdata.sources.unannotated import Unannotated
from csrdata.storage.disk import atomic_file, hash_path

UNREADABLE = "bin"
"""Extension of a file that is not an image: its prompt is left out when it is read."""

T = TypeVar("T")


@dataclass(frozen=True)
class HubDataset(Unannotated):
    """A `Source` over one split of a dataset of the Hub."""

    images_root: Path
    repo_id: str
    """`OWNER/NAME`."""
    asked: str
    """A tag, a branch, or a commit of 40 hex digits."""
    config: str | None
    split: str
    columns: Columns
    folder: str
    """Takes the images, relative to the images root."""

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        self._check_folder()
        _need_extra()
        commit = self.revision()
        with connect(self.repo_id, repo_type="dataset") as hub:
            dataset = _Opened(self, commit, hub)
            rows = sample(self._rows(dataset), count=count, seed=seed)
            paths = self._write_images(dataset, {int(row.image): row.place for row in rows})
        return [Prompt(row.row_id, paths[int(row.image)], row.text) for row in rows]

    def files(self) -> list[Path]:
        """Return no files: the revision identifies the dataset."""
        return []

    def revision(self) -> str:
        """Return the commit that the rows come from; a tag or a branch is looked up once."""
        return self._commit

    @cached_property
    def _commit(self) -> str:
        if re.fullmatch("[0-9a-f]{40}", self.asked):
            return self.asked
        _need_extra()
        with connect(self.repo_id, repo_type="dataset") as hub:
            return str(hub.ask(lambda: hub.api.dataset_info(self.repo_id, revision=self.asked)).sha)

    def _rows(self, dataset: "_Opened") -> Iterator[Row]:
        """Yield the rows without images; `image` is the row's number."""
        used = [name for key, name in self.columns.named().items() if key != "source.image_column"]
        for number, values in dataset.rows(list(dict.fromkeys(used))):
            place = f"{self.place}: row {number}"
            yield Row(
                row_id=row_id(values, self.columns, number, place=place),
                kind=row_kind(values, self.columns, place=place),
                image=str(number),
                text=row_text(values, self.columns, place=place),
                place=place,
            )

    def _write_images(self, dataset: "_Opened", wanted: dict[int, str]) -> dict[int, str]:
        """Write the images of some rows; return their paths relative to the images root, by row."""
        found: dict[int, str] = {}
        with progress(total=len(wanted), title="images", unit="image") as bar:
            for number, values in dataset.rows([self.columns.image]):
                if number in wanted:
                    found[number] = self._write(values[self.columns.image], number, place=wanted[number])
                    bar.update()
                if len(found) == len(wanted):
                    break
        return found

    def _write(self, value: object, number: int, *, place: str) -> str:
        """Write one image, unless it is there; a row without one gives a path where nothing is."""
        content = _content(value, place=place)
        if content is None:
            return (PurePosixPath(self.folder) / f"no-image-in-row-{number}").as_posix()
        digest = sha256(content).hexdigest()
        try:
            extension = image_extension(content, place=place, do="")
        except UserError:
            extension = UNREADABLE
        path = (PurePosixPath(self.folder) / f"{digest}.{extension}").as_posix()
        file = self.images_root / path
        if not file.is_file() or hash_path(file) != digest:
            with atomic_file(file) as partial:
                partial.write_bytes(content)
        return path

    @property
    def place(self) -> str:
        """The dataset in words, for errors."""
        return f"hub {self.repo_id}@{self.asked}"

    def _check_folder(self) -> None:
        if PurePosixPath(self.folder).is_absolute() or ".." in PurePosixPath(self.folder).parts:
            expected = "a folder inside images.root, relative to it"
            raise wrong("params.yaml: source.folder", self.folder, expected)


@dataclass(frozen=True)
class _Opened:
    """A dataset at one commit, read through an open connection."""

    source: HubDataset
    commit: str
    hub: Connection

    def rows(self, wanted: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows with some of their columns, each with its number; images are their files' bytes."""
        place = self.source.place
        stream = _Stream(_undecoded(self._narrow(wanted), self.source.columns.image))
        while True:
            number = stream.number
            row = self._ask(stream.next, place=f"{place}: row {number}")
            if row is None:
                return
            yield number, row

    def _narrow(self, wanted: list[str]) -> Any:
        """Return the rows with some of their columns; of Parquet files, the others are not read."""
        builder, named, place = self._builder, self.source.columns.named(), self.source.place
        from datasets import Features

        known = builder.info.features
        for key, name in named.items():
            if known is not None and name not in known:
                raise missing_column(name, known, place=place, key=key)
        narrow: dict[str, Any] = {}
        if builder.name == "parquet":
            narrow = {"columns": wanted}
            if known is not None:
                narrow["features"] = Features({name: known[name] for name in wanted})
        stream, names = self._ask(lambda: self._load(narrow), place=place)
        for key, name in named.items():
            if names is not None and name in wanted and name not in names:
                expected = f"a column of the dataset (params.yaml: {key})"
                raise wrong(f"{place}: column {name}", "no such column", expected)
        return stream.select_columns(wanted)

    def _load(self, narrow: dict[str, Any]) -> tuple[Any, list[str] | None]:
        """Return the stream and the names of its columns."""
        from datasets import load_dataset

        source = self.source
        stream = load_dataset(
            source.repo_id, source.config, split=source.split, revision=self.commit, streaming=True, **narrow
        )
        return stream, stream.column_names

    @cached_property
    def _builder(self) -> Any:
        """What reads the dataset's files; the dataset is looked up once."""
        from datasets import load_dataset_builder

        source = self.source
        return self._ask(
            lambda: load_dataset_builder(source.repo_id, source.config, revision=self.commit),
            place=source.place,
        )

    def _ask(self, call: Callable[[], T], *, place: str) -> T:
        """Make a request with retries; whatever the libraries raise becomes one line.

        `datasets` hides some failures of the connection behind other errors, such as a file that was not found.
        """

        def plain() -> T:
            try:
                return call()
            except Exception as error:
                hidden = hidden_failure(error)
                if hidden is None:
                    raise
                raise hidden from None

        try:
            return self.hub.ask(plain)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - a library raises whatever it ran into, and so does a damaged file
            raise self.hub.explain(error) or _unreadable(error, place=place) from None


class _Stream:
    """The rows of a stream; after an error, `next` goes on at the row that failed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._rows: Iterator[dict[str, Any]] | None = None
        self.number = 0
        """Of the next row."""

    def next(self) -> dict[str, Any] | None:
        """Return the next row; None after the last one."""
        if self._rows is None:
            self._rows = iter(self._stream.skip(self.number) if self.number else self._stream)
        try:
            row = next(self._rows, None)
        except Exception:
            self._rows = None
            raise
        self.number += 1
        return row


def _unreadable(error: Exception, *, place: str) -> UserError:
    text = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        place,
        got=text,
        expected="a dataset with this config and split that streams without running code",
        do="check source.id, revision, config and split in params.yaml, and the network (hf auth login for a private "
        "one), then: dvc repro",
    )


def _undecoded(stream: Any, name: str) -> Any:
    """Return a stream whose images are their files' bytes."""
    from datasets import Image, List

    feature = (stream.features or {}).get(name)
    if isinstance(feature, Image):
        return stream.cast_column(name, Image(decode=False))
    if isinstance(feature, List) and isinstance(feature.feature, Image):
        return stream.cast_column(name, List(Image(decode=False)))
    return stream


def _content(value: object, *, place: str) -> bytes | None:
    """Return an image's bytes; None where the row has none."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) > 1:
            raise wrong(f"{place}: image", f"{len(value)} images", "exactly 1 image")
        value = value[0] if value else None
    if value is None:
        return None
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise wrong(f"{place}: image", content, "a column of images (params.yaml: source.image_column)")
    if len(content) > MAX_BYTES:
        raise wrong(f"{place}: image", f"{len(content):,} bytes", f"at most {MAX_BYTES:,}")
    return content


def _need_extra() -> None:
    if find_spec("datasets") is None or find_spec("huggingface_hub") is None:
        do = "pip install 'csrdata[hub]'"
        raise UserError("source.kind hub", got="no datasets", expected="the extra hub", do=do)
