"""What csrdata asks of an evaluation set: questions about images, what is known about them, and who parses the answers.

An evaluation set adds a split to those of the source. It is a protocol: any object with these members fits.
`csrdata.pipeline.evaluation_sets` chooses one by the `kind` of each entry of `evaluation_sets` in params.yaml. A set
promises: equal settings and files give equal rows in equal order, and its rows have the set's name as their split.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

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
    prompt_ids: Mapping[str, str] = field(default_factory=dict)
    """By question id, the id of the source's prompt that the question asks; only where it is one."""


class EvaluationSet(Protocol):
    """One entry of `evaluation_sets`."""

    needs_every_image: ClassVar[bool]
    """Whether its images are a fixed list: one that is missing or damaged stops the sampling, because the figures would be
    those of another list. Otherwise the question is left out and counted."""

    def ask(self, training: Sequence[Prompt]) -> Asked:
        """Return the set's questions and truth; no image is opened.

        Args:
            training: the training prompts; a set of prompts leaves them out.

        Raises:
            UserError: a file is missing or malformed, or there are fewer images than asked for.
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


def malformed(place: str, got: object, expected: str) -> UserError:
    """Return the error for a value of a set's file."""
    return UserError(place, got=got, expected=expected, do="correct the file, then: dvc repro")
