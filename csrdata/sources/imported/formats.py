"""How rows of published preference datasets become pairs: one function for each layout.

`Format.compared_with` names the cards and loaders that a layout was compared with, each with its revision.
`Format.not_checked` says what could not be compared. Both go into the record of an import.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from csrdata.errors import UserError
from csrdata.records import DropReason
from csrdata.storage import strict_json

DO = "choose the layout with --from (csrdata import --help), or correct the file, then the same command again"

ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant", "llava")
"""Who asks and who answers in a conversation."""
RATED = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")
"""What VLFeedback rates, 1 to 5 each."""
MOST_COMPLETIONS = 64
"""Of a row of VLFeedback, whose card says 4: every two of them may be a pair."""


@dataclass(frozen=True, slots=True)
class RawPair:
    """A pair as a file has it, unchecked."""

    image: object
    """A path; or a mapping with the `bytes` of an image file."""
    prompt: object
    chosen: object
    rejected: object
    margin: float | None = field(default=None, kw_only=True)
    """By how much chosen is rated above rejected; None where nobody rated them."""


class NoPair(Exception):
    """A row, or two answers of it, are no pair, for a reason that is not a mistake in the row."""

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
    pairs: Callable[[Mapping[str, Any]], Sequence[RawPair | NoPair]]
    """Return the pairs of a row, one or more, with the reason for each two of its answers that are none. They have one
    image and one prompt. Raises `UserError` for a row of another layout, `NoPair` for a row without a pair."""
    compared_with: tuple[str, ...] = ()
    """The cards and loaders that the layout was compared with: what, of which repository, at which revision."""
    not_checked: tuple[str, ...] = ()
    """What of the layout could not be compared with the original."""


def by_columns(columns: Columns) -> Format:
    """Return the layout of any table with these columns: texts, or conversations of one turn as TRL has them."""
    names = (columns.image, columns.prompt, columns.chosen, columns.rejected)
    return Format(names, lambda row: [of_columns(row, columns)])


def of_columns(row: Mapping[str, Any], columns: Columns) -> RawPair:
    """Return the pair of a row with these columns."""
    return RawPair(
        _one(_value(row, columns.image)),
        *(said(_value(row, name)) for name in (columns.prompt, columns.chosen, columns.rejected)),
    )


def rlhf_v(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of openbmb/RLHF-V-Dataset (arXiv 2312.00849): `text` holds `question`, `chosen` and `rejected`.

    By the card, `text` is a column of strings, each of which "contains a dict" with these keys. It is read as JSON.
    """
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
    """Return a pair of openbmb/RLAIF-V-Dataset (arXiv 2405.17220), by the fields of its card and of the authors' loader."""
    return RawPair(*(_value(row, name) for name in ("image", "question", "chosen", "rejected")))


def povid(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of POVID's JSON (arXiv 2402.11411), as the example in the authors' README.

    The rejected answer is that of `rejected_conversations`, to the same question. The authors' loader would also take
    several turns, and another question there; such a row is no pair of csrdata.
    """
    question, chosen = _turn("conversations", _value(row, "conversations"))
    other, rejected = _turn("rejected_conversations", _value(row, "rejected_conversations"))
    if question != other:
        raise _wrong("rejected_conversations", other, "the question of conversations")
    return RawPair(_value(row, "image"), question, chosen, rejected)


def llava_rlhf(row: Mapping[str, Any]) -> RawPair:
    """Return a pair of zhiqings/LLaVA-Human-Preference-10K (arXiv 2309.14525) whose conversation has one question.

    `output_1` and `output_2` take the place of the last answer; `preference` is 1 or 2. The authors' loader keeps the turns
    before it as the prompt. A prompt of csrdata is one instruction, and its chat template is applied to one user turn:
    without the earlier turns the last question would be another one, so such a row is no pair.
    """
    question, _ = _turn("conversations", _value(row, "conversations"))
    outputs = [_value(_mapping(name, _value(row, name)), "value") for name in ("output_1", "output_2")]
    preference = _value(row, "preference")
    if preference not in (1, 2) or isinstance(preference, bool):
        raise _wrong("preference", preference, "1 or 2")
    chosen, rejected = outputs if preference == 1 else reversed(outputs)
    return RawPair(_value(row, "image"), question, chosen, rejected)


def vlfeedback(row: Mapping[str, Any]) -> list[RawPair]:
    """Return the best and the worst rated completion of a row of MMInstruction/VLFeedback (Silkie, arXiv 2312.10665).

    A completion's rating is the mean of `RATED`; the first of equally rated ones counts. A completion that lacks a rating is
    left out. The margin is the difference of the two ratings, up to 4.

    Raises:
        NoPair: fewer than two completions are rated, or all have one rating.
    """
    rated = [(rating, text) for rating, text in _rated(row) if rating is not None]
    best, worst = max(rated, key=lambda one: one[0]), min(rated, key=lambda one: one[0])
    return [RawPair(*_shown(row), best[1], worst[1], margin=best[0] - worst[0])]


def vlfeedback_all(row: Mapping[str, Any]) -> list[RawPair | NoPair]:
    """Return every two completions of a row of VLFeedback with unequal ratings, in the row's order, as the authors do.

    The authors' `run_dpo.py` takes the mean of whatever ratings a completion has. Here, as in `vlfeedback`, a completion
    needs all of `RATED`, from 1 to 5 each.

    Returns:
        For k completions, k (k - 1) / 2 pairs and reasons.

    Raises:
        NoPair: as `vlfeedback`.
    """
    shown = _shown(row)
    found: list[RawPair | NoPair] = []
    for (one, text), (other, other_text) in combinations(_rated(row), 2):
        if one is None or other is None:
            found.append(NoPair(DropReason.NO_RESPONSE, "a completion without all ratings"))
        elif one == other:
            found.append(NoPair(DropReason.UNDER_MARGIN, f"two completions are rated {one:.2f}"))
        elif one > other:
            found.append(RawPair(*shown, text, other_text, margin=one - other))
        else:
            found.append(RawPair(*shown, other_text, text, margin=other - one))
    return found


def _single(pair: Callable[[Mapping[str, Any]], RawPair]) -> Callable[[Mapping[str, Any]], list[RawPair]]:
    """Return what gives the one pair of a row as a list."""
    return lambda row: [pair(row)]


_VLFEEDBACK = (
    "card of the dataset MMInstruction/VLFeedback at 0bd5e14, of 2023-12-20",
    "run_dpo.py of the repository vlf-silkie/VLFeedback at de0bff3, of 2023-12-22",
)
_VLFEEDBACK_NOT_CHECKED = (
    "whether rows of the published vlfeedback_80k.jsonl have img_path, which the card has; the dataset's loading script was "
    "not read",
)
FORMATS = {
    "rlhf-v": Format(
        ("image", "text"),
        _single(rlhf_v),
        compared_with=(
            "card of the dataset openbmb/RLHF-V-Dataset at 5b59b49 (news up to 2024-01-06): columns, and keys of text",
        ),
        not_checked=(
            "that text is JSON: the card says a dict in a column of strings; two programs of others read it with json.loads",
        ),
    ),
    "rlaif-v": Format(
        ("image", "question", "chosen", "rejected"),
        _single(rlaif_v),
        compared_with=(
            "card of the dataset openbmb/RLAIF-V-Dataset at aef2c1c",
            "muffin/data/datasets.py of the repository RLHF-V/RLAIF-V at 83d917b, of 2025-05-14",
        ),
    ),
    "povid": Format(
        ("image", "conversations", "rejected_conversations"),
        _single(povid),
        compared_with=(
            "README.md and llava/train/train_dpo_inherent.py of the repository YiyangZhou/POVID at 92c7c67, of 2024-04-30",
        ),
        not_checked=(
            "the card of YiyangAiLab/POVID_preference_data_for_VLLMs: it has 27 bytes, too few to name the fields",
        ),
    ),
    "llava-rlhf": Format(
        ("image", "conversations", "output_1", "output_2", "preference"),
        _single(llava_rlhf),
        compared_with=(
            "RLHF/data_utils/data_utils_rm.py of the repository llava-rlhf/LLaVA-RLHF at 830a083, of 2023-10-31",
        ),
        not_checked=(
            "the card of zhiqings/LLaVA-Human-Preference-10K: at e60c9e5 it states a licence and no field",
            "how many rows have several turns: none of them becomes a pair",
        ),
    ),
    "vlfeedback": Format(
        ("image", "img_path", "prompt", "completions"),
        vlfeedback,
        compared_with=_VLFEEDBACK,
        not_checked=(
            *_VLFEEDBACK_NOT_CHECKED,
            "best against worst mean rating is csrdata's rule; the authors' is vlfeedback-all",
        ),
    ),
    "vlfeedback-all": Format(
        ("image", "img_path", "prompt", "completions"),
        vlfeedback_all,
        compared_with=_VLFEEDBACK,
        not_checked=_VLFEEDBACK_NOT_CHECKED,
    ),
}
"""By the name that `csrdata import --from` takes."""


def said(value: object) -> object:
    """Return the text of a conversation of one turn; any other value stays as it is.

    Example: `[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]` -> "Describe."
    """
    if not isinstance(value, list):
        return value
    if len(value) > 1:
        raise _wrong("a conversation", "several turns", "one turn: a prompt has no earlier turns")
    message = _mapping("a conversation", value[0] if value else value)
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
    if len(read) > 2:
        raise _wrong(name, "several turns", "one question and one answer: a prompt has no earlier turns")
    if len(read) != 2 or read[0][0] not in ASKS or read[1][0] not in ANSWERS:
        raise _wrong(
            name, f"turns of {', '.join(str(one[0]) for one in read) or 'nobody'}", "a question and an answer"
        )
    return read[0][1], read[1][1]


def _rated(row: Mapping[str, Any]) -> list[tuple[float | None, object]]:
    """Return rating and text of each completion, in their order: two or more have ratings, and those are not all alike."""
    completions = list(_records("completions", _value(row, "completions")))
    if len(completions) > MOST_COMPLETIONS:
        raise _wrong("completions", f"{len(completions):,} completions", f"at most {MOST_COMPLETIONS}")
    found = [
        (_rating(_mapping("annotations", _value(completion, "annotations"))), _value(completion, "response"))
        for completion in completions
    ]
    ratings = [rating for rating, _ in found if rating is not None]
    if len(ratings) < 2:
        raise NoPair(DropReason.NO_RESPONSE, f"{len(ratings)} completions with all ratings")
    if len(set(ratings)) == 1:
        raise NoPair(DropReason.UNDER_MARGIN, f"all {len(ratings)} completions are rated {ratings[0]:.2f}")
    return found


def _shown(row: Mapping[str, Any]) -> tuple[object, object]:
    """Return image and prompt of a row of VLFeedback."""
    image = row["image"] if row.get("image") is not None else _value(row, "img_path")
    return image, _value(row, "prompt")


def _rating(annotations: Mapping[str, Any]) -> float | None:
    """Return the mean of a completion's ratings; None if one is missing or no number from 1 to 5."""
    try:
        found = [float(annotations[name]["Rating"]) for name in RATED]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return math.fsum(found) / len(found) if all(1 <= one <= 5 for one in found) else None


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
