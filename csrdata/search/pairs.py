"""What all ways to make preference pairs have in common: their outcome, the widest difference, and the oracle's count.

One file for each way: `answer_pairs` (whole answers), `sentence_pairs` (two ways to continue one answer, and where to end
it), `mixed_pairs` (several of them). Each has a function `make(prompts, ...)`. It returns, for every prompt, one `Pair` or
more, or one `Dropped`, which states the reason.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from csrdata.records import Dropped, DropReason, Pair, Prompt, Sentence


class Form(StrEnum):
    """What the two sides of a pair are."""

    ANSWERS = "answers"
    """Two whole answers."""
    SENTENCES = "sentences"
    """Two sentences that continue the same beginning of an answer."""
    GO_ON = "go_on"
    """A sentence is better than the end."""
    STOP = "stop"
    """The end is better than a sentence."""


def form(pair: Pair) -> Form:
    """Return what the two sides of a pair are."""
    if not pair.chosen:
        return Form.STOP
    if not pair.rejected:
        return Form.GO_ON
    whole = pair.chosen_complete and pair.rejected_complete and not pair.context
    return Form.ANSWERS if whole else Form.SENTENCES


Outcome = Pair | Dropped
"""A prompt's pairs are numbered from 0 and come one after the other; a dropped prompt has one row."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a text says of its image, compared with the truth."""

    false: int
    """Mentions of absent objects, or with something wrong said of a present one; each counts, repeated or not."""
    true: int
    """Distinct present objects that are named with nothing wrong, so that saying one again earns nothing."""


CountClaims = Callable[[Prompt, str], Claims]
"""Count the claims of a text about a prompt's image. Only an oracle has it: pairs that it orders are for comparison."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A text that may be a side of a pair."""

    node: int
    """Unique among the entries of a prompt."""
    text: str
    value: float
    """What orders the entries: the chosen side has the higher one."""
    words: int = 0


def furthest_apart(entries: Sequence[Entry], *, max_length_gap: float = 1.0) -> tuple[Entry, Entry] | None:
    """Return the (higher, lower) entries of different text and similar length whose values differ most, or None.

    Ties go to the lower nodes.

    Args:
        entries: in any order.
        max_length_gap: largest allowed difference in words, as a share of the longer text, 0..1; 1 allows any difference.
    """
    falling = sorted(entries, key=lambda entry: (-entry.value, entry.node))
    rising = sorted(entries, key=lambda entry: (entry.value, entry.node))
    best: tuple[Entry, Entry] | None = None
    widest = -1.0
    for high in falling:
        for low in rising:
            difference = high.value - low.value
            if difference <= widest:
                break
            different = high.text.strip() != low.text.strip()
            if difference >= 0 and different and _length_gap(high, low) <= max_length_gap:
                best, widest = (high, low), difference
                break
    return best


def apart(pair: tuple[Entry, Entry]) -> float:
    """Return the difference in value of a (higher, lower) pair."""
    return pair[0].value - pair[1].value


def _length_gap(one: Entry, other: Entry) -> float:
    """Return the difference in words as a share of the longer text, 0..1."""
    return abs(one.words - other.words) / max(one.words, other.words, 1)


def truth_values(claims: Mapping[int, Claims]) -> dict[int, float]:
    """Return values that order texts by truth: fewest false claims first, then most true ones. All are whole numbers.

    One false claim outweighs any number of true ones, also in the difference of two values.

    Example: {0: 1 false, 2 true; 1: 0 false, 1 true; 2: 0 false, 0 true} -> {0: -3, 1: 1, 2: 0}
    """
    weight = 2 * max((each.true for each in claims.values()), default=0) + 1
    return {node: each.true - weight * each.false for node, each in claims.items()}


def numbered(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of one prompt with the numbers 0, 1, ..., in their order."""
    return [
        pair if pair.number == number else replace(pair, number=number) for number, pair in enumerate(pairs)
    ]


def refused(row: Sentence) -> Dropped:
    """Return a prompt that the policy could not take as dropped: the reason is the row's `stop`, the figures its text."""
    return Dropped(row.prompt_id, DropReason(row.stop).value, row.text)


def drawn(*key: object) -> float:
    """Return a number of 0..1 that depends on the key alone, as if drawn for it: seed and ids, joined by colons."""
    return int.from_bytes(hashed(*key)) / 2**64


def hashed(*key: object) -> bytes:
    """Return 8 bytes for an order that depends on the key alone."""
    return hashlib.blake2b(":".join(map(str, key)).encode(), digest_size=8).digest()
