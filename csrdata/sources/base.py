"""The protocol of a source: it provides prompts, questions, the truth about its images, and their origin.

Any object with these members is a source. `csrdata.pipeline.source` alone chooses one, by `source.kind` of params.yaml. A
source guarantees that

- ids are unique, and stay the same when the source grows;
- image paths are POSIX and relative to the images root, `images.root` of params.yaml;
- equal arguments give equal rows, in the same order.

Truth is only for evaluation: no stage that makes pairs reads it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from csrdata.records import Prompt, Question, Truth
from csrdata.search.judging import Judging


@dataclass(frozen=True, slots=True)
class Origin:
    """Licences and limits of a source, for the card of a published dataset. The texts are csrdata's own."""

    licence: str
    """Licence of the dataset, by its name on the Hub: `apache-2.0`, `cc-by-4.0`, ..."""
    images: str
    """What the images are, and their licence."""
    outputs: str
    """The terms for the policy's answers."""
    limits: tuple[str, ...] = ()
    """Known limits, one or more sentences each."""
    languages: tuple[str, ...] = ()
    """Languages of the texts, as ISO 639-1 codes."""
    tags: tuple[str, ...] = ()


def plain_check(sentence: str) -> str:
    """Return the question that checks a sentence, for a policy that follows instructions.

    Example: "A cat sleeps." -> "Is this true of the image? A cat sleeps. Answer yes or no."
    """
    return f"Is this true of the image? {sentence.strip()} Answer yes or no."


class Mention(Protocol):
    """One object that a sentence names."""

    @property
    def name(self) -> str:
        """The object, as `Truth.objects` names it."""

    @property
    def word(self) -> str:
        """What the sentence calls it."""

    @property
    def start(self) -> int:
        """Where the word begins in the sentence: characters before it."""

    @property
    def end(self) -> int:
        """Where the word ends in the sentence: the character behind it."""

    @property
    def present(self) -> bool:
        """Whether it is in the image."""

    @property
    def attributes_right(self) -> bool | None:
        """Whether all statements about a present object are true; None without statements, or if the truth is unknown."""

    @property
    def mistake(self) -> str | None:
        """The kind of mistake behind an absent object; None for a present object, or if the source cannot tell."""


class ClaimParser(Protocol):
    """Parses the claims of answers about one source's images."""

    @property
    def version(self) -> str:
        """The rules by name: two parsers of the same version read every text in the same way."""

    @property
    def tells_details(self) -> bool:
        """Whether it can tell attributes, kinds of mistakes and well-formed sentences; else no figure is about them."""

    def sentences(self, text: str) -> list[str]:
        """Split an answer into its sentences: parts of the text as they are, in order."""

    def well_formed(self, sentence: str) -> bool:
        """Return whether a sentence is a valid sentence of the source's language."""

    def mentions(self, sentence: str, truth: Truth) -> Sequence[Mention]:
        """Return the objects that a sentence names, one entry per mention; the sentence need not be well-formed."""


Corruption = Callable[[str, random.Random], str | None]
"""Return an answer with one change that makes it false, drawn by the generator; None if nothing in it can be changed."""


class Source(Protocol):
    """Provides prompts, questions, truth and origin."""

    @property
    def origin(self) -> Origin | None:
        """Licences and limits if csrdata knows them; None if the user must state them."""

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        """Sample training prompts, in the order of their ids.

        An image need not be there: a prompt whose image is missing or unreadable is left out and counted by the caller.

        Args:
            count: prompts to sample, 1 or more.
            seed: selects images and wordings; 0 or more.

        Raises:
            UserError: the source has fewer images, or its files cannot be read.
        """

    def questions(self) -> list[Question]:
        """Return the questions about the evaluation images; empty if the source asks none.

        They do not depend on the seed of the prompts: policies that were trained on other prompts stay comparable.

        Raises:
            UserError: the source cannot ask that many, or its files cannot be read.
        """

    def truths(self) -> list[Truth]:
        """Return what is known about the images; empty if nothing is known."""

    def claim_parser(self) -> ClaimParser | None:
        """Return the parser of answers; None if no truth is known."""

    def checks(self, sentence: str) -> list[str]:
        """Return the yes/no questions that check a sentence: yes means that it is true of the image.

        A self-check asks them (`scorers`, kind `self_check`). `plain_check` suits a policy that follows instructions; a
        source whose policies know other questions gives those. Empty if the sentence cannot be checked.
        """

    def judging(self) -> Judging:
        """Return how a policy is asked to judge two of its answers; `Judging()` is the paper's prompt."""

    def corruption(self) -> Corruption | None:
        """Return the rule that makes an answer false with one change (`select_pairs.kind: corrupted`); None without a rule.

        The rule reads the answer alone, never the truth: another object, attribute or place, or a sentence about an object
        that the answer does not name.
        """

    def files(self) -> list[Path]:
        """Return the files and folders that the rows come from, relative to the project or absolute.

        `sample_prompts` depends on them. A folder of real images is not among them: the table of images in use replaces it.
        """

    def revision(self) -> str | None:
        """Return the exact version that the rows come from, such as a commit; None if the files are the version."""
