"""A dataset of the Hub as a source: streamed at one commit, without a copy of the whole.

It is read twice. The first pass draws the sample and decodes no image (from Parquet files it does not even fetch them); the
second writes the images of the sample, each once, under the name of its content. A dataset that needs to run code to
load is refused: `datasets` runs none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from csrdata.errors import UserError
from csrdata.images import MAX_BYTES, image_extension
from csrdata.progress import progress
from csrdata.records import Prompt
from csrdata.sources.rows import Row, missing_column, wrong
from csrdata.sources.sampling import sample
from csrdata.sources.table import Columns, row_id, row_kind, row_text
from csrdata.sources.unannotated import Unannotated
from csrdata.storage.disk import atomic_file, hash_path

UNREADABLE = "bin"
"""Extension of what is no image: its prompt is left out when it is read."""


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
        rows = sample(self._rows(), count=count, seed=seed)
        paths = self._write_images({int(row.image): row.place for row in rows})
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
        from huggingface_hub import HfApi

        try:
            found = HfApi().dataset_info(self.repo_id, revision=self.asked).sha
        except Exception as error:  # noqa: BLE001 - the client raises its own errors, those of HTTP and of the disk
            raise self._failed(error) from None
        return str(found)

    def _rows(self) -> Iterator[Row]:
        """Yield the rows without images; `image` is the row's number."""
        used = [name for key, name in self.columns.named().items() if key != "source.image_column"]
        for number, values in self._numbered(self._narrow(list(dict.fromkeys(used)))):
            place = f"{self._place}: row {number}"
            yield Row(
                row_id=row_id(values, self.columns, number, place=place),
                kind=row_kind(values, self.columns, place=place),
                image=str(number),
                text=row_text(values, self.columns, place=place),
                place=place,
            )

    def _write_images(self, wanted: dict[int, str]) -> dict[int, str]:
        """Write the images of some rows; return their paths relative to the images root, by row."""
        stream = self._narrow([self.columns.image])
        found: dict[int, str] = {}
        with progress(total=len(wanted), title="images", unit="image") as bar:
            for number, values in self._numbered(_undecoded(stream, self.columns.image)):
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
    def _place(self) -> str:
        return f"hub {self.repo_id}@{self.asked}"

    def _narrow(self, wanted: list[str]) -> Any:
        """Return the rows with some of their columns; of Parquet files, the others are not read."""
        builder = self._builder
        from datasets import Features

        known = builder.info.features
        for key, name in self.columns.named().items():
            if known is not None and name not in known:
                raise missing_column(name, known, place=self._place, key=key)
        narrow: dict[str, Any] = {}
        if builder.name == "parquet":
            narrow = {"columns": wanted}
            if known is not None:
                narrow["features"] = Features({name: known[name] for name in wanted})
        try:
            stream = self._load(streaming=True, **narrow)
            names = stream.column_names
        except Exception as error:  # noqa: BLE001 - as in `_builder`
            raise self._failed(error) from None
        for key, name in self.columns.named().items():
            if names is not None and name in wanted and name not in names:
                place, expected = (
                    f"{self._place}: column {name}",
                    f"a column of the dataset (params.yaml: {key})",
                )
                raise wrong(place, "no such column", expected)
        return stream.select_columns(wanted)

    def _load(self, **settings: Any) -> Any:
        from datasets import load_dataset

        return load_dataset(self.repo_id, self.config, split=self.split, revision=self._commit, **settings)

    @cached_property
    def _builder(self) -> Any:
        """What reads the dataset's files; the dataset is looked up once."""
        if PurePosixPath(self.folder).is_absolute() or ".." in PurePosixPath(self.folder).parts:
            expected = "a folder inside images.root, relative to it"
            raise wrong("params.yaml: source.folder", self.folder, expected)
        _need_extra()
        commit = self._commit
        from datasets import load_dataset_builder

        try:
            return load_dataset_builder(self.repo_id, self.config, revision=commit)
        except Exception as error:  # noqa: BLE001 - the library raises whatever it ran into
            raise self._failed(error) from None

    def _numbered(self, stream: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows of a stream with their numbers; what the library raises becomes one line."""
        rows, number = iter(stream), 0
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its reader ran into
                raise self._failed(error, place=f"{self._place}: row {number}") from None
            yield number, row
            number += 1

    def _failed(self, error: Exception, *, place: str | None = None) -> UserError:
        text = " ".join(str(error).split()) or type(error).__name__
        return UserError(
            place or self._place,
            got=text,
            expected="a dataset with this config and split that streams without running code",
            do="check source.id, revision, config and split in params.yaml, and the network (hf auth login for a "
            "private one), then: dvc repro",
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
