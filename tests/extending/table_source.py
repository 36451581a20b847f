"""A source of the user's own images: prompts from a file with one JSON object per line."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csrdata.errors import UserError
from csrdata.records import Kind, Prompt, Question, Truth


@dataclass(frozen=True)
class TableSource:
    """Reads prompts from lines such as `{"id": "photo-7", "image": "photos/7.jpg", "text": "Describe it."}`."""

    file: Path
    origin: None = None
    """csrdata does not know the licence of these images: `csrdata push` asks the user for it."""

    def prompts(self, *, count: int, seed: int) -> list[Prompt]:
        """Sample prompts by a hash of seed and id; a longer file keeps the order of the ids that it had."""
        rows = self._rows()
        if count > len(rows):
            raise UserError(str(self.file), got=len(rows), expected=f"{count} prompts", do="add lines to it")
        chosen = sorted(rows, key=lambda row: hashlib.blake2b(f"{seed}:{row.prompt_id}".encode()).digest())
        return sorted(chosen[:count], key=lambda row: row.prompt_id)

    def questions(self, *, per_image: int, seed: int) -> list[Question]:
        """Ask for one description per image; yes/no questions need known truth, which this source lacks."""
        if per_image:
            place = "params.yaml: sample_prompts.questions_per_image"
            raise UserError(
                place, got=per_image, expected="0 for images without known truth", do="set it to 0"
            )
        first = {row.image: row for row in reversed(self._rows())}
        rows: Sequence[Prompt] = sorted(first.values(), key=lambda row: row.prompt_id)
        return [
            Question(
                row.prompt_id, "held_out", Kind.DESCRIBE, row.image, row.text, answer=None, negative=None
            )
            for row in rows
        ]

    def truths(self) -> list[Truth]:
        """Return no truth: none is known."""
        return []

    def claim_parser(self) -> None:
        """Return None: without known truth there is nothing to compare claims with."""

    def _rows(self) -> list[Prompt]:
        rows: dict[str, Prompt] = {}
        for number, line in enumerate(self.file.read_text(encoding="utf-8").splitlines(), start=1):
            place = f"{self.file}: line {number}"
            try:
                read = json.loads(line)
                row = Prompt(read["id"], read["image"], read["text"])
            except (ValueError, KeyError, TypeError):
                expected = "a JSON object with id, image and text"
                raise UserError(place, got=line, expected=expected, do="correct the line") from None
            if row.prompt_id in rows:
                raise UserError(place, got=row.prompt_id, expected="an id used once", do="correct the line")
            rows[row.prompt_id] = row
        return list(rows.values())
