"""What csrdata asks of a source: prompts, questions, what is known about its images, and where they come from.

A source is a protocol: any object with these members fits. `csrdata.pipeline.source` chooses one by `source.kind` of
params.yaml, and is the only place that does. A source promises:

- ids are unique, and stay the same when the source grows;
- image paths are POSIX and relative to the images root, `images.root` of params.yaml;
- equal arguments give equal rows, in equal order;
- truth is for evaluation only: no stage that makes pairs reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from csrdata.records import Prompt, Question, Truth


@dataclass(frozen=True, slots=True)
class Origin:
    """Licences and limits of a source, for the card of a published dataset: texts that csrdata itself states."""

    licence: str
    """Of the dataset, by its name on the Hub: `apache-2.0`, `cc-by-4.0`, ..."""
    images: str
    """What the images are, and under which licence."""
    outputs: str
    """The terms for what the policy wrote."""
    limits: tuple[str, ...] = ()
    """Sentences."""
    languages: tuple[str, ...] = ()
    """Of the texts: ISO 639-1."""
    tags: tuple[str, ...] = ()


class Mention(Protocol):
    """One object that a sentence names."""

    @property
    def name(self) -> str:
        """The object, as `Truth.objects` names it."""

    @property
    def present(self) -> bool:
        """Whether it is in the image."""

    @property
    def attributes_right(self) -> bool | None:
        """Whether all that is said of a present object is true; None where nothing is said, or nothing is known."""

    @property
    def mistake(self) -> str | None:
        """What kind of mistake an absent object is; None for a present one, or if the source cannot tell."""


class ClaimParser(Protocol):
    """Parses the claims of answers about one source's images."""

    def sentences(self, text: str) -> list[str]:
        """Split an answer into its sentences."""

    def well_formed(self, sentence: str) -> bool:
        """Say whether a sentence is one that the source's language knows."""

    def mentions(self, sentence: str, truth: Truth) -> Sequence[Mention]:
        """Return the objects that a sentence names, one entry per mention, whether or not it is well-formed."""


class Source(Protocol):
    """Where prompts, images, questions, truth and origin come from."""

    @property
    def origin(self) -> Origin | None:
        """Licences and limits, where csrdata knows them; None where the user must state them."""

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        """Sample training prompts, in the order of their ids.

        An image need not be there: a prompt whose image is missing or unreadable is left out and counted by the caller.

        Args:
            count: prompts to sample, 1 or more.
            seed: which images and which wordings; 0 or more.

        Raises:
            UserError: the source has fewer, or its files cannot be read.
        """

    def questions(self, *, seed: int) -> list[Question]:
        """Ask about the evaluation images; empty where the source has none.

        Args:
            seed: which objects and which wordings; 0 or more.

        Raises:
            UserError: the source cannot ask as many as it is set to, or its files cannot be read.
        """

    def truths(self) -> list[Truth]:
        """Return what is known about the images; empty where nothing is."""

    def claim_parser(self) -> ClaimParser | None:
        """Return what parses answers; None where no truth is known."""

    def files(self) -> list[Path]:
        """Return the files and folders that the rows come from, as seen from the project: `sample_prompts` depends on them.

        A folder of real images is not among them: the manifest of the images in use stands for it.
        """

    def revision(self) -> str | None:
        """Return the exact version that the rows come from, such as a commit; None where the files say it all."""
