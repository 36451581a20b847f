"""A source of the user's own images: prompts from a file with one JSON object per line."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from csrdata.errors import UserError
from csrdata.records import Prompt, Question, Truth
from csrdata.search.judging import Judging
from csrdata.sources.base import plain_check


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

    def questions(self) -> list[Question]:
        """Return no questions: they need images that are not in the prompts."""
        return []

    def truths(self) -> list[Truth]:
        """Return no truth: none is known."""
        return []

    def claim_parser(self) -> None:
        """Return None: without known truth there is nothing to compare claims with."""

    def checks(self, sentence: str) -> list[str]:
        """Return the question that a self-check asks about a sentence."""
        return [plain_check(sentence)]

    def judging(self) -> Judging:
        """Return the paper's prompt, by which a policy judges its own answers."""
        return Judging()

    def corruption(self) -> None:
        """Return None: no rule makes an answer false."""

    def files(self) -> list[Path]:
        """Return the files that the rows come from: another content samples again."""
        return [self.file]

    def revision(self) -> None:
        """Return None: the file's hash says which version it is."""

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
