"""Prompts of the source that are not trained on: descriptions for the measures that need no truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from csrdata.errors import UserError
from csrdata.evaluation_sets.base import Asked, stable_number
from csrdata.records import Kind, Prompt, Question
from csrdata.sources.base import Source
from csrdata.storage.values import MAX_NAME

TOO_FEW = "params.yaml: sample_prompts.prompts"
"""The place that sources name if they have fewer prompts than asked for."""


@dataclass(frozen=True)
class HeldOutPrompts:
    """An `EvaluationSet` of prompts that differ from every training prompt in their id and in image or text.

    An image of a training prompt may come back with another instruction.
    """

    needs_every_image: ClassVar[bool] = False

    name: str
    source: Source
    count: int
    seed: int

    def ask(self, training: Sequence[Prompt]) -> Asked:
        """Return one question per prompt, in the order of the prompts' ids.

        Of `len(training) + count` prompts of the source, at least `count` are not trained on.

        Raises:
            UserError: the source has fewer.
        """
        trained = {prompt.prompt_id for prompt in training}
        contents = {(prompt.image, prompt.text) for prompt in training}
        prompts = self._prompts(len(training))
        free = [
            prompt
            for prompt in prompts
            if prompt.prompt_id not in trained and (prompt.image, prompt.text) not in contents
        ]
        if len(free) < self.count:
            raise self._too_few(f"at most the {len(free)} prompts that differ from every training prompt")
        ordered = sorted(free, key=lambda prompt: stable_number(self.seed, prompt.prompt_id))
        chosen = sorted(ordered[: self.count], key=lambda one: one.prompt_id)
        questions = [self._question(prompt) for prompt in chosen]
        asked = zip(questions, chosen, strict=True)
        return Asked(questions, [], {question.question_id: prompt.prompt_id for question, prompt in asked})

    def claim_parser(self) -> None:
        return None

    def files(self) -> list[Path]:
        return []

    def parser_files(self) -> list[Path]:
        return []

    def _prompts(self, trained: int) -> list[Prompt]:
        try:
            return self.source.prompts(count=trained + self.count, seed=self.seed)
        except UserError as error:
            if error.place != TOO_FEW:
                raise
            raise self._too_few(f"with the {trained} training prompts {error.expected}") from None

    def _too_few(self, expected: str) -> UserError:
        place = f"params.yaml: evaluation_sets.{self.name}.count"
        do = "lower it or add prompts to the source, then: dvc repro"
        return UserError(place, got=self.count, expected=expected, do=do)

    def _question(self, prompt: Prompt) -> Question:
        return Question(
            _short(f"{self.name}-{prompt.prompt_id}"),
            self.name,
            Kind.DESCRIBE,
            prompt.image,
            prompt.text,
            answer=None,
            negative=None,
        )


def _short(name: str) -> str:
    """Return an id; one that is too long keeps its beginning, and ends with a hash of all of it."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 17]}-{stable_number(name):016x}"
