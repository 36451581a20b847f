"""What a policy was evaluated on and how: the facts without which its figures cannot be compared with others'.

{"description_tokens": 160, "yes_no_tokens": 16, "unfinished_sentence": "counted",
"versions": {PACKAGE: VERSION}, "sets": {SPLIT: {"images", "images_sha256", ...}}}
"""

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from csrdata.evaluation.pope import ANSWER_TOKENS
from csrdata.evaluation.scorecard import Known
from csrdata.records import Kind, LeftOut, Question
from csrdata.storage.json_values import JsonValue

PACKAGES = ("csrdata", "torch", "transformers", "open_clip_torch")
"""Their versions may change an answer or a score."""
UNFINISHED_SENTENCE = "counted"
"""The rule for the last sentence of an answer that was cut at the token limit: it counts like the others."""


@dataclass(frozen=True, slots=True)
class SetRecord:
    """One split: equal records mean equal questions, compared with equal truth by equal rules."""

    images: int
    descriptions: int
    yes_no_questions: int
    images_sha256: str
    """Of the image paths, sorted, one per line."""
    questions_sha256: str
    """Of image, kind, instruction and right answer of each question, in order."""
    prompt: str | None
    """The instruction of the descriptions; None where they differ or are missing."""
    truth_sha256: str | None
    """Of the images' objects and what else is known; None, here and below, where the truth is unknown."""
    rules: str | None
    """The version of the claim parser."""
    left_out: Mapping[str, int]
    """Sampled questions that were not asked, by `LeaveReason`; empty if all were."""
    left_out_sha256: str | None
    """Of id, image and reason of each, in order; None if all were asked."""


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """How one policy was evaluated."""

    description_tokens: int
    """Token limit of a greedy description."""
    yes_no_tokens: int
    """Token limit of an answer to a yes/no question."""
    unfinished_sentence: str
    """`UNFINISHED_SENTENCE`."""
    versions: Mapping[str, str]
    """By package; those that are installed."""
    sets: Mapping[str, SetRecord]
    """By split."""
    decoding: str = "greedy"
    """How descriptions were decoded: `greedy`, or `search` for the best answers of the search. In the file only where it
    is not greedy."""

    def as_json(self) -> dict[str, object]:
        """Return the record in the form of the file."""
        return {
            **{
                one.name: getattr(self, one.name)
                for one in fields(self)
                if one.name not in {"versions", "sets", "decoding"}
            },
            **({} if self.decoding == "greedy" else {"decoding": self.decoding}),
            "versions": dict(self.versions),
            "sets": {name: asdict(one) for name, one in self.sets.items()},
        }

    def protocol(self) -> tuple[object, ...]:
        """Return all but the versions: what must be equal for two policies to be compared."""
        return (
            self.description_tokens,
            self.yes_no_tokens,
            self.unfinished_sentence,
            dict(self.sets),
            self.decoding,
        )


def describe_evaluation(
    questions: Sequence[Question],
    known: Mapping[str, Known],
    *,
    left_out: Sequence[LeftOut],
    max_new_tokens: int,
    decoding: str = "greedy",
) -> EvaluationRecord:
    """Return the record of an evaluation that is run now.

    Args:
        questions: of all splits.
        known: by split, where the truth is known.
        left_out: the sampled prompts and questions that were left out.
        max_new_tokens: token limit of a greedy description.
        decoding: `greedy` or `search`.
    """
    return EvaluationRecord(
        description_tokens=max_new_tokens,
        yes_no_tokens=min(max_new_tokens, ANSWER_TOKENS),
        unfinished_sentence=UNFINISHED_SENTENCE,
        versions=installed_versions(),
        sets={
            split: _describe(
                [one for one in questions if one.split == split],
                known.get(split),
                [one for one in left_out if one.split == split],
            )
            for split in dict.fromkeys(question.split for question in questions)
        },
        decoding=decoding,
    )


def common_record(records: Iterable[EvaluationRecord]) -> EvaluationRecord:
    """Return the record of several policies of one protocol; a version that differs among them is listed whole.

    Example: policies evaluated with torch 2.9 and 2.10 give `{"torch": "2.10, 2.9"}`.
    """
    every = list(records)
    names = dict.fromkeys(name for one in every for name in one.versions)
    versions = {
        name: ", ".join(sorted({one.versions[name] for one in every if name in one.versions}))
        for name in names
    }
    return replace(every[0], versions=versions)


def read_record(value: JsonValue) -> EvaluationRecord:
    """Return the record that `EvaluationRecord.as_json` wrote.

    Raises:
        UserError: a key is missing or unknown, or a value is of another type.
    """
    greedy = "decoding" not in value.items()
    parts = value.fields(
        *(one.name for one in fields(EvaluationRecord) if not (greedy and one.name == "decoding"))
    )
    return EvaluationRecord(
        description_tokens=parts["description_tokens"].count(),
        yes_no_tokens=parts["yes_no_tokens"].count(),
        unfinished_sentence=parts["unfinished_sentence"].text(),
        versions={name: version.text() for name, version in parts["versions"].items().items()},
        sets={name: _read_set(one) for name, one in parts["sets"].items().items()},
        decoding="greedy" if greedy else parts["decoding"].text(),
    )


def installed_versions() -> dict[str, str]:
    """Return the versions of `PACKAGES`; a package that is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _describe(questions: Sequence[Question], known: Known | None, left_out: Sequence[LeftOut]) -> SetRecord:
    describing = [question for question in questions if question.kind == Kind.DESCRIBE]
    prompts = {question.text for question in describing}
    images = sorted({question.image for question in questions})
    rows = ["\t".join((one.image, one.kind, one.text, one.answer or "")) for one in questions]
    truths = [] if known is None else [known.truths[image] for image in images if image in known.truths]
    return SetRecord(
        images=len(images),
        descriptions=len(describing),
        yes_no_questions=len(questions) - len(describing),
        images_sha256=_sha256(images),
        questions_sha256=_sha256(rows),
        prompt=prompts.pop() if len(prompts) == 1 else None,
        truth_sha256=None
        if known is None
        else _sha256("\t".join((one.image, *one.objects, one.detail)) for one in truths),
        rules=None if known is None else known.parser.version,
        left_out=dict(sorted(Counter(one.reason for one in left_out).items())),
        left_out_sha256=_sha256(f"{one.record_id}\t{one.image}\t{one.reason}" for one in left_out)
        if left_out
        else None,
    )


def _read_set(value: JsonValue) -> SetRecord:
    parts = value.fields(*(one.name for one in fields(SetRecord)))

    def text_or_none(name: str) -> str | None:
        return None if parts[name].value is None else parts[name].text()

    return SetRecord(
        images=parts["images"].count(),
        descriptions=parts["descriptions"].count(),
        yes_no_questions=parts["yes_no_questions"].count(),
        images_sha256=parts["images_sha256"].text(),
        questions_sha256=parts["questions_sha256"].text(),
        prompt=text_or_none("prompt"),
        truth_sha256=text_or_none("truth_sha256"),
        rules=text_or_none("rules"),
        left_out={name: count.count() for name, count in parts["left_out"].items().items()},
        left_out_sha256=text_or_none("left_out_sha256"),
    )


def _sha256(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines, each ended by a line feed."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
