"""What a policy's descriptions of a split name, counted image by image: all that the figures of the table are made of.

Two policies' counts pair up image by image, and counts of several seeds add up. Written as text they are small enough to
be committed with each result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from csrdata.evaluation import chair, prose
from csrdata.evaluation.intervals import Ratio, mean, percentage
from csrdata.evaluation.scorecard import Known
from csrdata.records import Answer, Kind, Question
from csrdata.storage.json_values import JsonValue

Column = tuple[int, ...]
"""One number per image."""

FIGURES = ("chair_s", "chair_i", "recall", "present_per_answer", "length")
"""The figures that counts give, by their names in `csrdata.evaluation.scorecard.FIGURES`."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A policy on a split whose truth is known, one entry per image, in the order of the questions."""

    answers: Column
    """Descriptions."""
    false: Column
    """Descriptions that name an absent object."""
    absent: Column
    """Mentions of absent objects."""
    mentions: Column
    """Mentions of objects."""
    named: Column
    """Distinct present objects that are named."""
    present: Column
    """Distinct present objects."""
    words: Column

    def ratios(self) -> dict[str, Ratio]:
        """Return the figures of `FIGURES`; the images are the rows."""
        return {
            "chair_s": percentage(self.false, self.answers),
            "chair_i": percentage(self.absent, self.mentions),
            "recall": percentage(self.named, self.present),
            "present_per_answer": Ratio(mean(self.named).numerators, mean(self.answers).numerators),
            "length": Ratio(mean(self.words).numerators, mean(self.answers).numerators),
        }

    def as_json(self) -> dict[str, str]:
        """Return each column as text."""
        return {one.name: encode(column) for one, column in zip(fields(self), astuple(self), strict=True)}


def count(
    questions: Sequence[Question], texts: Mapping[str, str], known: Mapping[str, Known]
) -> dict[str, Counts]:
    """Count what descriptions name, by split; a split whose truth is unknown is left out.

    Args:
        questions: of all splits; only descriptions count.
        texts: the answers by the id of their question.
        known: by split.
    """
    describing = [one for one in questions if one.kind == Kind.DESCRIBE and one.split in known]
    found = {}
    for split in dict.fromkeys(question.split for question in describing):
        rows: dict[str, list[int]] = {}
        for question in describing:
            if question.split == split:
                row = _row(question, texts[question.question_id], known[split])
                before = rows.setdefault(question.image, [0] * len(row))
                rows[question.image] = [one + other for one, other in zip(before, row, strict=True)]
        found[split] = Counts(*(tuple(column) for column in zip(*rows.values(), strict=True)))
    return found


def texts_of(answers: Sequence[Answer]) -> dict[str, str]:
    """Return answers' texts by the id of their question."""
    return {answer.question_id: answer.text for answer in answers}


def read_counts(value: JsonValue) -> Counts:
    """Return the counts that `Counts.as_json` wrote.

    Raises:
        UserError: a column is missing or damaged, or the columns are of several lengths.
    """
    columns: list[Column] = []
    parts = value.fields(*(one.name for one in fields(Counts)))
    for part in (parts[one.name] for one in fields(Counts)):
        column = decode(part.text())
        if column is None or (columns and len(column) != len(columns[0])):
            part.refuse("one count per image")
        else:
            columns.append(column)
    return Counts(*columns)


def encode(column: Column) -> str:
    """Return counts as short text.

    Equal counts are their number and the count; zeros and ones are their number and hexadecimal digits, the first image in
    the highest bit; other counts have a digit each, or as many as the largest has, stated first.

    Examples: (1, 1, 1, 1) -> "4*1"; (1, 0, 1) -> "3#a"; (0, 2, 1) -> "021"; (8, 12) -> "2:0812"
    """
    if len(set(column)) == 1:
        return f"{len(column)}*{column[0]}"
    width = len(str(max(column, default=0)))
    digits = "".join(f"{one:0{width}}" for one in column)
    if column and max(column) == 1:
        missing = -len(column) % 4
        return f"{len(column)}#{int(digits + '0' * missing, 2):0{(len(column) + missing) // 4}x}"
    return digits if width == 1 else f"{width}:{digits}"


def decode(text: str) -> Column | None:
    """Return the counts that `encode` wrote; None if the text is not such counts."""
    for mark in "*#:":
        before, found, after = text.partition(mark)
        if not found:
            continue
        if not (_is_number(before) and int(before) <= MOST_IMAGES):
            return None
        count = int(before)
        match mark:
            case "*":
                return (int(after),) * count if _is_number(after) else None
            case "#":
                return _bits(after, count)
            case _:
                return _digits(after, count)
    return _digits(text, 1)


MOST_IMAGES = 10**6
"""Of a column that is read."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _bits(text: str, count: int) -> Column | None:
    """Return zeros and ones from hexadecimal digits; None if one is not a digit, or there are too many or too few."""
    if len(text) != -(-count // 4) or set(text) - set("0123456789abcdef"):
        return None
    bits = "".join(f"{int(one, 16):04b}" for one in text)
    return tuple(map(int, bits[:count])) if "1" not in bits[count:] else None


def _digits(text: str, width: int) -> Column | None:
    """Return counts of `width` digits each; None if there are other characters, or a count is cut off."""
    if width < 1 or len(text) % width or (text and not (text.isascii() and text.isdigit())):
        return None
    return tuple(int(text[start : start + width]) for start in range(0, len(text), width))


def _row(question: Question, text: str, known: Known) -> list[int]:
    """Return the counts of one description, in the order of `Counts`."""
    claims = chair.count_claims(text, known.truths[question.image], known.parser)
    return [
        1,
        int(claims.absent > 0),
        claims.absent,
        claims.mentions,
        claims.present_named,
        claims.present,
        prose.count_prose(text).words,
    ]
