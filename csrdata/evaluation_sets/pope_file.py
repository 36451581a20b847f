"""POPE's published questions: one JSON object per line with question_id, image, text and label (arXiv 2305.10355)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from csrdata.errors import UserError
from csrdata.evaluation_sets.base import Asked, malformed
from csrdata.evaluation_sets.coco import image_path
from csrdata.records import Kind, Prompt, Question, Side
from csrdata.storage.lines import read_json_lines
from csrdata.storage.values import MAX_PROMPT

KEYS = ("question_id", "image", "text", "label")


@dataclass(frozen=True)
class PopeFile:
    """An `EvaluationSet` of the yes/no questions of one file, in its order."""

    needs_every_image: ClassVar[bool] = True

    name: str
    folder: str
    """Of the images, relative to the images root."""
    file: Path
    strategy: str
    """How the file chose absent objects: random, popular or adversarial. The file itself does not say."""

    def ask(self, training: Sequence[Prompt]) -> Asked:
        """Return the file's questions; `training` does not matter. The truth is in their labels."""
        del training
        questions: list[Question] = []
        seen: set[str] = set()
        if not self.file.is_file():
            do = "put it there or correct evaluation_sets in params.yaml, then: dvc repro"
            raise UserError(
                str(self.file), got="no such file", expected="POPE's questions, JSON Lines", do=do
            )
        for place, row in read_json_lines(self.file):
            question = self._question(row, place)
            if question.question_id in seen:
                raise malformed(f"{place}: question_id", row["question_id"], "each id once")
            seen.add(question.question_id)
            questions.append(question)
        if not questions:
            raise malformed(str(self.file), "no questions", "one JSON object per line")
        return Asked(questions, [])

    def claim_parser(self) -> None:
        return None

    def files(self) -> list[Path]:
        return [self.file]

    def parser_files(self) -> list[Path]:
        return []

    def _question(self, row: dict[str, Any], place: str) -> Question:
        for key in KEYS:
            if key not in row:
                raise malformed(f"{place}: {key}", "no such key", f"an object with {', '.join(KEYS)}")
        number, image, text, label = (row[key] for key in KEYS)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**18:
            raise malformed(f"{place}: question_id", number, "a whole number, 0 or more")
        if not isinstance(image, str):
            raise malformed(f"{place}: image", image, "a file name")
        if not isinstance(text, str) or not _is_instruction(text):
            raise malformed(
                f"{place}: text", ascii(text), f"a text of 1 to {MAX_PROMPT:,} characters without NUL"
            )
        if not isinstance(label, str) or label not in set(Side):
            raise malformed(f"{place}: label", label, "yes or no")
        path = image_path(self.folder, image, place=f"{place}: image")
        negative = self.strategy if label == Side.NO else None
        return Question(
            f"{self.name}-{number:06d}",
            self.name,
            Kind.YES_NO,
            path,
            text.strip(),
            answer=label,
            negative=negative,
        )


def _is_instruction(text: str) -> bool:
    """Return whether a table of questions takes a text; JSON can write halves of characters, which no file holds."""
    whole = not any("\ud800" <= char <= "\udfff" for char in text)
    return bool(text.strip()) and "\0" not in text and len(text) <= MAX_PROMPT and whole
