"""How rows of published preference datasets become pairs: one function for each layout.

Where a layout was compared with its card or with the authors' loader, the function names it. `Format.not_checked` says what
could not be compared; it goes into the record of an import.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from csrdata.errors import UserError
from csrdata.records import DropReason
from csrdata.storage import strict_json

DO = "choose the layout with --from (csrdata import --help), or correct the file, then the same command again"

ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant", "llava")
"""Who asks and who answers in a conversation."""
RATED = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")
"""What VLFeedback rates, 1 to 5 each."""


@dataclass(frozen=True, slots=True)
class RawPair:
    """A pair as a file has it, unchecked."""

    image: object
    """A path; or a mapping with the `bytes` of an image file."""
    prompt: object
    chosen: object
    rejected: object


class NoPair(Exception):
    """A row has no pair, for a reason that is not a mistake in it."""

    def __init__(self, reason: DropReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of any table of pairs."""

    image: str = "image"
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"


@dataclass(frozen=True, slots=True)
class Format:
    """How rows of one layout are read."""

    columns: tuple[str, ...]
    """The columns that are read, for Parquet."""
    pair: Callable[[Mapping[str, Any]], RawPair]
    """Return a row's pair. Raises `UserError` for a row of another layout, `NoPair` for a row without a pair."""
    not_checked: tuple[str, ...] = ()
    """What of the layout could not be compared with the original."""


def by_columns(columns: Columns) -> Format:
    """Return the layout of any table with these columns: texts, or conversations of one turn as TRL has them."""

    def pair(row: Mapping[str, Any]) -> RawPair:
        return RawPair(
            _one(_value(row, columns.image)),
            *(said(_value(row, name)) for name in (columns.prompt, columns.chosen, columns.rejected)),
        )

    return Format((columns.image, columns.prompt, columns.chosen, columns.rejected), pair)


def rlhf_v(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of openbmb/RLHF-V-Dataset (arXiv 2312.00849): `text` is JSON with `question`, `chosen`, `rejected`."""
    text = _value(row, "text")
    try:
        found = strict_json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        raise _wrong("text", text, "JSON with question, chosen and rejected") from None
    inner = _mapping("text", found)
    return RawPair(
        _value(row, "image"), *(_value(inner, name) for name in ("question", "chosen", "rejected"))
    )


def rlaif_v(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of openbmb/RLAIF-V-Dataset, by the fields of its card (arXiv 2405.17220)."""
    return RawPair(*(_value(row, name) for name in ("image", "question", "chosen", "rejected")))


def povid(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of POVID's JSON, as the authors' loader reads it (arXiv 2402.11411, `train_dpo_inherent.py`).

    The rejected answer is that of `rejected_conversations`, to the same question.
    """
    question, chosen = _turn("conversations", _value(row, "conversations"))
    other, rejected = _turn("rejected_conversations", _value(row, "rejected_conversations"))
    if question != other:
        raise _wrong("rejected_conversations", other, "the question of conversations")
    return RawPair(_value(row, "image"), question, chosen, rejected)


def llava_rlhf(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of LLaVA-Human-Preference-10K, as the authors' loader reads it (arXiv 2309.14525, `data_utils_rm.py`).

    `output_1` and `output_2` take the place of the last answer; `preference` is 1 or 2.
    """
    question, _ = _turn("conversations", _value(row, "conversations"))
    outputs = [_value(_mapping(name, _value(row, name)), "value") for name in ("output_1", "output_2")]
    preference = _value(row, "preference")
    if preference not in (1, 2) or isinstance(preference, bool):
        raise _wrong("preference", preference, "1 or 2")
    chosen, rejected = outputs if preference == 1 else reversed(outputs)
    return RawPair(_value(row, "image"), question, chosen, rejected)


def vlfeedback(row: Mapping[str, Any]) -> RawPair:
    """Return the best and the worst rated completion of a row of MMInstruction/VLFeedback (Silkie, arXiv 2312.10665).

    A completion's rating is the mean of `RATED`; the first of equally rated ones counts. A completion that lacks a rating is
    left out. The fields are those of the dataset's card.

    Raises:
        NoPair: fewer than two completions are rated, or all have one rating.
    """
    rated = []
    for completion in _records("completions", _value(row, "completions")):
        rating = _rating(_mapping("annotations", _value(completion, "annotations")))
        if rating is not None:
            rated.append((rating, _value(completion, "response")))
    if len(rated) < 2:
        raise NoPair(DropReason.NO_RESPONSE, f"{len(rated)} completions with all ratings")
    best, worst = max(rated, key=lambda one: one[0]), min(rated, key=lambda one: one[0])
    if best[0] == worst[0]:
        raise NoPair(DropReason.UNDER_MARGIN, f"all {len(rated)} completions are rated {best[0]:.2f}")
    image = row["image"] if row.get("image") is not None else _value(row, "img_path")
    return RawPair(image, _value(row, "prompt"), best[1], worst[1])


FORMATS = {
    "rlhf-v": Format(
        ("image", "text"),
        rlhf_v,
        not_checked=("the layout of RLHF-V was not compared with its files: text as JSON is from memory",),
    ),
    "rlaif-v": Format(("image", "question", "chosen", "rejected"), rlaif_v),
    "povid": Format(("image", "conversations", "rejected_conversations"), povid),
    "llava-rlhf": Format(("image", "conversations", "output_1", "output_2", "preference"), llava_rlhf),
    "vlfeedback": Format(
        ("image", "img_path", "prompt", "completions"),
        vlfeedback,
        not_checked=(
            "the rule for VLFeedback (best against worst mean rating) is csrdata's, not the authors'",
        ),
    ),
}
"""By the name that `csrdata import --from` takes."""


def said(value: object) -> object:
    """Return the text of a conversation of one turn; any other value stays as it is.

    Example: `[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]` -> "Describe."
    """
    if not isinstance(value, list):
        return value
    message = _mapping("a conversation", value[0] if len(value) == 1 else value)
    content = _value(message, "content")
    if not isinstance(content, list):
        return content
    texts = [
        part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") != "image"
    ]
    return texts[0] if len(texts) == 1 else content


def _turn(name: str, value: object) -> tuple[object, object]:
    """Return question and answer of a conversation of one question and one answer."""
    turns = value[0] if isinstance(value, list) and len(value) == 1 else value
    read = [(turn.get("from"), turn.get("value")) for turn in _records(name, turns)]
    if len(read) != 2 or read[0][0] not in ASKS or read[1][0] not in ANSWERS:
        raise _wrong(
            name, f"turns of {', '.join(str(one[0]) for one in read) or 'nobody'}", "a question and an answer"
        )
    return read[0][1], read[1][1]


def _rating(annotations: Mapping[str, Any]) -> float | None:
    """Return the mean of a completion's ratings; None if one is missing or no number."""
    try:
        found = [float(annotations[name]["Rating"]) for name in RATED]
    except (KeyError, TypeError, ValueError):
        return None
    return sum(found) / len(found) if all(1 <= one <= 5 for one in found) else None


def _records(name: str, value: object) -> Iterable[Mapping[str, Any]]:
    """Return a list of mappings; `datasets` stores such a list as a mapping of lists."""
    if isinstance(value, Mapping) and value and all(isinstance(part, list) for part in value.values()):
        lengths = {len(part) for part in value.values()}
        if len(lengths) == 1:
            return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]
    if isinstance(value, list):
        return [_mapping(name, one) for one in value]
    raise _wrong(name, value, "a list of objects")


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "an object")
    return value


def _one(value: object) -> object:
    """Return the one element of a list, such as TRL's `images`; any other value stays as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _value(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        known = ", ".join(sorted(map(str, row))) or "none"
        raise _wrong(name, "no such key", f"one of {known}")
    return row[name]


def _wrong(name: str, got: object, expected: str) -> UserError:
    return UserError(name, got=got, expected=expected, do=DO)
