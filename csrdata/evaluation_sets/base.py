"""What csrdata asks of an evaluation set: questions about images, what is known about them, and who parses the answers.

An evaluation set adds a split to those of the source. It is a protocol: any object with these members fits.
`csrdata.pipeline.evaluation_sets` chooses one by the `kind` of each entry of `evaluation_sets` in params.yaml. A set
promises: equal settings and files give equal rows in equal order, and its rows have the set's name as their split.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from csrdata.errors import UserError
from csrdata.records import Prompt, Question, Truth
from csrdata.sources.base import ClaimParser

T = TypeVar("T", int, str)


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of one evaluation set."""

    questions: list[Question]
    truths: list[Truth]
    """One row per image where the set knows the objects of its images; else empty."""


class EvaluationSet(Protocol):
    """One entry of `evaluation_sets`."""

    def ask(self, training: Sequence[Prompt]) -> Asked:
        """Return the set's questions and truth.

        Args:
            training: the training prompts; a set of prompts leaves them out.

        Raises:
            UserError: a file is missing or malformed, an image is missing, or there are fewer images than asked for.
        """

    def claim_parser(self) -> ClaimParser | None:
        """Return what parses descriptions; None where the objects of the images are unknown."""

    def files(self) -> list[Path]:
        """Return the files that the rows come from, images excepted."""

    def parser_files(self) -> list[Path]:
        """Return the files that the claim parser comes from."""


def sampled(ids: Iterable[T], *, count: int, seed: int, name: str) -> list[T]:
    """Return `count` ids in ascending order, chosen by a hash of seed and id: a larger count keeps those of a smaller one.

    Args:
        ids: each once.
        count: ids to return, 1 or more.
        seed: 0 or more.
        name: of the evaluation set, for the error.

    Raises:
        UserError: there are fewer.
    """
    ordered = sorted(ids, key=lambda one: (stable_number(seed, one), one))
    if len(ordered) < count:
        raise UserError(
            f"params.yaml: evaluation_sets.{name}",
            got=f"{count} images",
            expected=f"at most the {len(ordered)} images that can be asked about",
            do="lower its number of images, then: dvc repro",
        )
    return sorted(ordered[:count])


def stable_number(*parts: object) -> int:
    """Return a number of 64 bits, the same in every process and on every machine for equal parts."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def need_image(path: str, *, root: Path, place: str) -> str:
    """Return the path of an image that is there.

    Args:
        path: relative to `root`.
        root: the images root.
        place: what names the image, for the error's first words.

    Raises:
        UserError: there is no such file.
    """
    if not (root / path).is_file():
        do = "put the image there or correct images.root or the set's folder in params.yaml, then: dvc repro"
        raise UserError(
            f"{place}: image {path}", got="no such file", expected=f"an image under {root}", do=do
        )
    return path


def malformed(place: str, got: object, expected: str) -> UserError:
    """Return the error for a value of a set's file."""
    return UserError(place, got=got, expected=expected, do="correct the file, then: dvc repro")
