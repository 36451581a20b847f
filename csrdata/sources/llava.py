"""Files of LLaVA's form as a source: `detail_23k.json`, `complex_reasoning_77k.json`, and the authors' released form.

A file is one JSON list and is read whole, up to `MAX_BYTES`. A row has `id`, `image`, and `conversations`, of which the
first question counts, or `input`. Images are found by name, so that any layout of COCO will do.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.records import Prompt
from csrdata.sources.image_index import ImageIndex
from csrdata.sources.rows import Row, parse_id, parse_image, parse_text, wrong
from csrdata.sources.sampling import sample
from csrdata.sources.unannotated import Unannotated
from csrdata.storage import strict_json

MAX_BYTES = 500_000_000
"""Of a file: its rows are in memory together. LLaVA-150k's files have at most about 100 MB."""
ASKS = ("human", "user")
"""Who asks in `conversations`."""


@dataclass(frozen=True)
class Llava(Unannotated):
    """A `Source` over files of LLaVA's form. A prompt's id is the file's name and the row's id: `detail_23k/000000123`."""

    images_root: Path
    paths: tuple[Path, ...]
    """The files, as seen from the project; each file's name is a kind of prompt."""
    folder: str
    """Where the images are, relative to the images root."""

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        rows = sample(self._rows(), count=count, seed=seed)
        index = ImageIndex(self.images_root, self.folder)
        return [Prompt(row.row_id, index.find(row.image, place=row.place), row.text) for row in rows]

    def files(self) -> list[Path]:
        return list(self.paths)

    def revision(self) -> None:
        return None

    def _rows(self) -> Iterator[Row]:
        kinds: set[str] = set()
        for path in self.paths:
            if path.stem in kinds:
                expected = "files of different names: the name is the kind of prompt"
                raise wrong("params.yaml: source.files", f"{path.stem} twice", expected)
            kinds.add(path.stem)
            for number, raw in enumerate(read_list(path)):
                yield _row(raw, kind=path.stem, place=f"{path}: row {number}")


def _row(raw: Any, *, kind: str, place: str) -> Row:
    if not isinstance(raw, dict):
        raise wrong(place, raw, "an object with id, image, and conversations or input")
    for name in ("id", "image"):
        if name not in raw:
            raise wrong(f"{place}: {name}", "no such key", "a value")
    return Row(
        row_id=parse_id(f"{kind}/{parse_id(raw['id'], place=place)}", place=place),
        kind=kind,
        image=parse_image(raw["image"], place=place),
        text=parse_text(_question(raw, place=place), place=place),
        place=place,
    )


def _question(raw: dict[str, Any], *, place: str) -> object:
    """Return the first question of a conversation, or the input of a released row."""
    if "conversations" not in raw:
        if "input" not in raw:
            raise wrong(place, "neither conversations nor input", "one of the two")
        return raw["input"]
    turns = raw["conversations"]
    if isinstance(turns, list):
        for turn in turns:
            if isinstance(turn, dict) and turn.get("from") in ASKS:
                return turn.get("value")
    raise wrong(f"{place}: conversations", turns, "a list with a turn from human")


def read_list(path: Path) -> list[Any]:
    """Read a file's JSON list.

    Raises:
        UserError: the file is missing, too large, not UTF-8, not JSON, or holds something else than a list.
    """
    place = str(path)
    if not path.is_file():
        do = "put it there or correct params.yaml: source.files, then: dvc repro"
        raise UserError(place, got="no such file", expected="a JSON file of LLaVA's form", do=do)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise wrong(
            place, f"{size:,} bytes", f"at most {MAX_BYTES:,} (JSON Lines of kind table may have more)"
        )
    try:
        found = strict_json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise wrong(place, f"byte {error.start} is not UTF-8", "JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise wrong(place, f"line {error.lineno}: {error.msg}", "JSON") from None
    except RecursionError:
        raise wrong(place, "JSON that is nested too deeply", "a list of rows") from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise wrong(place, str(error), "JSON") from None
    if not isinstance(found, list):
        raise wrong(place, f"a {type(found).__name__}", "a JSON list of rows")
    return found
