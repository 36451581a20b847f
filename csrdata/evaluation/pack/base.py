"""What all benchmarks have in common: their questions, what is known about them, and how answers become figures.

A benchmark reads the user's copy of its public files, checks every value, and gives figures that are ratios over images.
Where the original asks a paid model, or uses a tagger that csrdata does not have, ours is named a rule-based variant:
`Bench.variant` says in which way it differs, and its figures are not comparable with published ones.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation.contrast import Measured
from csrdata.evaluation.intervals import Ratio, percentage
from csrdata.evaluation.scorecard import Label
from csrdata.storage import strict_json
from csrdata.storage.lines import read_json_lines

ID_KEYS = ("question_id", "id", "image_id", "image", "img_id")
"""What may name the question of an answer, the first that a row has."""
MOST_BYTES = 200_000_000
"""Of a file that is read whole."""
AGAIN = "correct the file, then the same command again"
MISSING, PUT = "no such file", "put it there, then the same command again"


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark."""

    key: str
    """What an answer names it by, each once."""
    image: str
    prompt: str


class Check(StrEnum):
    """How a figure was compared with the original benchmark; it goes wherever the figure goes."""

    REPRODUCED = "reproduced"
    """The original's results were computed again from its own answers."""
    RULE = "rule"
    """Programmed from the original's code, which was read; its results were not computed again."""
    UNCHECKED = "unchecked"
    """The original could not be run or read, or ours differs from it."""
    OWN = "own"
    """csrdata's figure: the original has none."""


def plain_key(row: Mapping[str, Any]) -> str | None:
    """Return the key that a row has under the first of its `ID_KEYS`, as text; None for another value."""
    value = next((row[key] for key in ID_KEYS if key in row), None)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


@dataclass(frozen=True, eq=False)
class Bench:
    """A benchmark that is ready to measure answers."""

    kind: str
    title: str
    variant: str | None
    """In which way its rules differ from the original ones; None where they are the original ones."""
    rules: str
    """The version of the rules."""
    items: tuple[Item, ...]
    truth: tuple[str, ...]
    """What is known, as lines of text: two benchmarks with equal lines know the same."""
    labels: Mapping[str, Label]
    """Every figure, in the order of the table."""
    checks: Mapping[str, Check]
    """Of the figures that the original has; the others are `Check.OWN`."""
    measure: Callable[[Mapping[str, str]], Measured]
    """From one text per key to the figures."""
    keys_of: Callable[[Mapping[str, Any]], str | None] = plain_key
    """The key that a row of an answers file names."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Further names of the questions, by which an answer may name them."""
    spare: frozenset[str] = frozenset()
    """Keys of questions that are not asked here, whose answers may be in the file."""

    @property
    def measure_name(self) -> str:
        """Name benchmark and rules, for the protocol."""
        return self.title if self.variant is None else f"{self.title}, rule-based variant ({self.variant})"

    def check(self, figure: str) -> Check:
        """Return how a figure was compared with the original."""
        return self.checks.get(figure, Check.OWN)

    def hashes(self) -> tuple[str, str, str | None]:
        """Return the SHA-256 of the image list, of the questions and of the truth."""
        images = sorted({item.image for item in self.items})
        questions = [f"{item.key}\t{item.image}\t{item.prompt}" for item in self.items]
        return sha256(images), sha256(questions), sha256(self.truth) if self.truth else None


def facts_of(bench: Bench) -> dict[str, Any]:
    """Return the fields of a `Protocol` that the set itself says, whoever answered it."""
    images, questions, truth = bench.hashes()
    return {
        "measure": bench.measure_name,
        "rules": bench.rules,
        "images": len({item.image for item in bench.items}),
        "questions": len(bench.items),
        "images_sha256": images,
        "questions_sha256": questions,
        "truth_sha256": truth,
    }


def sha256(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines, each ended by a line feed."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def rows_of(path: Path, *, what: str, lines: bool | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and object of each row of a JSON array or of JSON Lines.

    Args:
        path: of the file.
        what: it holds, for the error.
        lines: whether it is JSON Lines; None: as its first character says.

    Raises:
        UserError: it is missing, too large or malformed, or a row is not an object.
    """
    if not path.is_file():
        raise UserError(str(path), got=MISSING, expected=what, do=PUT)
    if lines or (lines is None and not _begins_array(path)):
        with same_command():
            yield from read_json_lines(path)
        return
    value = whole(path, what=what)
    if not isinstance(value, list):
        raise UserError(
            str(path), got=f"a {type(value).__name__}", expected=f"a JSON array: {what}", do=AGAIN
        )
    for number, row in enumerate(value):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number}", got=row, expected="an object", do=AGAIN)
        yield f"{path}: row {number}", row


@contextmanager
def same_command() -> Iterator[None]:
    """Let errors about files of the command line name the same command as the next step, not `dvc repro`."""
    try:
        yield
    except UserError as error:
        if "dvc repro" not in error.do:
            raise
        do = PUT if error.got == MISSING else AGAIN
        raise UserError(error.place, got=error.got, expected=error.expected, do=do) from None


def _begins_array(path: Path) -> bool:
    """Return whether the first character of a file that is not white space opens a JSON array."""
    with path.open("rb") as file:
        return file.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def whole(path: Path, *, what: str) -> Any:
    """Return the value of a JSON file.

    Raises:
        UserError: it is missing, larger than `MOST_BYTES` or not JSON.
    """
    if not path.is_file():
        raise UserError(str(path), got=MISSING, expected=what, do=PUT)
    if path.stat().st_size > MOST_BYTES:
        raise UserError(str(path), got="a larger file", expected=f"at most {MOST_BYTES:,} bytes", do=AGAIN)
    try:
        return strict_json.loads(path.read_bytes())
    except RecursionError:
        got = "JSON that is nested too deeply"
    except ValueError as error:  # UnicodeDecodeError is one too
        got = str(error)
    raise UserError(str(path), got=got, expected=f"JSON: {what}", do=AGAIN) from None


def text_at(row: Mapping[str, Any], key: str, place: str, *, among: Sequence[str] = ()) -> str:
    """Return a text of a row; one of `among`, if that is given.

    Raises:
        UserError: it is missing, no text, blank, or none of these.
    """
    value = row.get(key)
    if isinstance(value, str) and value.strip() and (not among or value in among):
        return value
    got = value if key in row else "no such key"
    raise UserError(f"{place}: {key}", got=got, expected=" or ".join(among) or "a text", do=AGAIN)


def whole_at(row: Mapping[str, Any], key: str, place: str) -> int:
    """Return a whole number of a row, 0 or more.

    Raises:
        UserError: it is missing or something else.
    """
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    got = value if key in row else "no such key"
    raise UserError(f"{place}: {key}", got=got, expected="a whole number, 0 or more", do=AGAIN)


def texts_at(row: Mapping[str, Any], key: str, place: str) -> list[str]:
    """Return a list of texts of a row.

    Raises:
        UserError: it is missing or something else.
    """
    value = row.get(key)
    if isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value):
        return value
    got = value if key in row else "no such key"
    raise UserError(f"{place}: {key}", got=got, expected="a list of texts", do=AGAIN)


def unique(items: Sequence[Item], path: Path) -> tuple[Item, ...]:
    """Return the items.

    Raises:
        UserError: the list is empty, or two items have one key.
    """
    seen: set[str] = set()
    for item in items:
        if item.key in seen:
            raise UserError(str(path), got=f"{item.key} twice", expected="each question once", do=AGAIN)
        seen.add(item.key)
    if not items:
        raise UserError(str(path), got="no questions", expected="one or more", do=AGAIN)
    return tuple(items)


def shares(owners: Sequence[str], hits: Sequence[float], of: Sequence[float]) -> Ratio:
    """Return a percentage with one entry per owner (an image, or what is drawn together), in the order of the rows."""
    places = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}
    return percentage(hits, of).grouped([places[owner] for owner in owners], count=len(places))
