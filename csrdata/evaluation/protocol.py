"""How a figure was made: the facts without which it cannot be compared with another one, and the refusal if they differ.

Half of the facts follow from the set: images, questions, truth, rules. The other half is about the answers: prompt, token
limit, decoding, what happened to an unfinished last sentence, versions. For answers that another program made, only its
maker knows them; what is not stated is `unknown`, and an unknown fact is not taken to be equal to anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from csrdata.errors import UserError

UNKNOWN = "unknown"
AS_ASKED = "as the set asks"
"""The prompt, where the answers were made with the set's own questions."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a table of figures was made on and how."""

    measure: str
    """The benchmark, and whether its rules are the original ones."""
    rules: str
    """The version of the rules that read the answers."""
    images: int
    questions: int
    images_sha256: str
    """Of the images' names, sorted, one per line."""
    questions_sha256: str
    """Of key, image and prompt of each question, in order."""
    truth_sha256: str | None
    """Of what is known of the images; None where nothing is."""
    prompt: str = UNKNOWN
    max_new_tokens: str = UNKNOWN
    decoding: str = UNKNOWN
    last_sentence: str = UNKNOWN
    """What became of a last sentence that the token limit cut: `counted`, `dropped`, or other words."""
    model: str = UNKNOWN
    versions: Mapping[str, str] = field(default_factory=dict)
    """By package: csrdata's, which measured, and those that the answers' maker states."""

    def as_json(self) -> dict[str, object]:
        """Return the protocol as plain values."""
        return asdict(self)


STATED = ("prompt", "max_new_tokens", "decoding", "last_sentence")
"""Facts that only the maker of the answers knows."""
OF_THE_SET = ("measure", "rules", "images_sha256", "questions_sha256", "truth_sha256")


def check_comparable(
    a: Protocol, b: Protocol, *, names: Sequence[str], accept_unknown: bool, do: str
) -> list[str]:
    """Raise unless two tables of figures were made in one way; return the facts that are unknown of a side.

    Model and versions may differ: they are what is compared.

    Args:
        a, b: of the two sides.
        names: of the two sides, for the error.
        accept_unknown: whether a fact that is unknown for a side is accepted.
        do: the next command, for the error.

    Raises:
        UserError: a fact differs, or is unknown of a side and `accept_unknown` is false.
    """
    for key in (*OF_THE_SET, *STATED):
        own, other = getattr(a, key), getattr(b, key)
        if own != other and UNKNOWN not in (own, other):
            place, expected = f"{names[1]}: {key}", f"{own}, as of {names[0]}"
            raise UserError(place, got=other, expected=expected, do=do)
    unknown = [key for key in STATED if UNKNOWN in (getattr(a, key), getattr(b, key))]
    if unknown and not accept_unknown:
        side = next(
            name for name, one in zip(names, (a, b), strict=True) if getattr(one, unknown[0]) == UNKNOWN
        )
        raise UserError(
            f"{side}: {unknown[0]}",
            got=UNKNOWN,
            expected="a stated value: figures that were made in different ways must not be set side by side",
            do="state it with --protocol FILE, or pass --accept-unknown (docs/evaluation.md)",
        )
    return unknown
