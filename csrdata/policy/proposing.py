"""The ways to propose candidates: how many rows continue a live answer, and which token each row takes next.

`csrdata.policy.decoding` decodes the rows and decides where a sentence ends. A way to propose is an argument of it:

- `DiverseGroups`: diverse group decoding, the paper's way (A.1);
- `SampledSentences`: sentences sampled from the policy;
- `SampledAnswers`: whole sampled answers, each independent of the others.

A sampled token is the first one whose cumulated probability exceeds a random number u of 0..1 (inverse transform
sampling). u is a hash of the seed, the prompt's id, the row and the token's position. It depends on no other prompt, so a
sampled tree does not depend on batches, shards or workers. The composition of a batch can change the last bits of a
probability; that changes a token only if u is within these bits of a token's limits.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

_ROWS_AT_ONCE = 32
"""Rows whose probabilities are cumulated together: memory for float64 of a large vocabulary."""


class Row(Protocol):
    """A sentence being decoded."""

    @property
    def key(self) -> bytes:
        """What its random numbers are derived from: `Proposing.key`."""

    @property
    def position(self) -> int:
        """The position of its next token in the answer, from 0."""


class Proposing(Protocol):
    """A way to propose candidates. Any object with these members is one."""

    @property
    def roots(self) -> int:
        """The empty answers from which the search of a prompt starts, 1 or more."""

    @property
    def candidates(self) -> int:
        """The candidates of each live answer, 1 or more."""

    def key(self, prompt_id: str, before: Sequence[int], group: int) -> bytes:
        """Return what the random numbers of a row are derived from; empty if there are none.

        Args:
            prompt_id: of the row's prompt.
            before: the tokens of the answer before the sentence: its path in the tree.
            group: `Proposal.group` of the row.
        """

    def choose(self, allowed: Tensor, active: Sequence[int], rows: Sequence[Row], *, ends: Tensor) -> Tensor:
        """Return the next token of each row, [R].

        Args:
            allowed: logits [R, V], float32, -inf where a token must not be generated; they may be changed in place.
            active: R ascending row numbers; live answer a has the numbers a * candidates to (a + 1) * candidates - 1.
            rows: the R rows.
            ends: the tokens that end an answer.
        """


@runtime_checkable
class Known(Protocol):
    """A way to propose whose tokens are chosen elsewhere: the policy need not decode them, only score them."""

    def tokens(self, rows: Sequence[Row]) -> list[tuple[int, ...]]:
        """Return the tokens of each row, 1 or more: its sentence and perhaps more."""


@dataclass(frozen=True, slots=True)
class DiverseGroups:
    """Diverse group decoding (group size 1, arXiv 1610.02424): each live answer has `groups` rows.

    The rows choose greedily, in order. For row g, a token's score is lowered by `diversity_penalty` nats for each earlier
    row of the same answer that chose this token at the same step. The penalty does not apply to end-of-sequence.
    """

    groups: int
    """1 or more."""
    diversity_penalty: float
    """Nats, >= 0."""

    @property
    def roots(self) -> int:
        return 1

    @property
    def candidates(self) -> int:
        return self.groups

    def key(self, prompt_id: str, before: Sequence[int], group: int) -> bytes:  # noqa: ARG002 - nothing is random
        return b""

    def choose(
        self,
        allowed: Tensor,
        active: Sequence[int],
        rows: Sequence[Row],  # noqa: ARG002 - nothing is random
        *,
        ends: Tensor,
    ) -> Tensor:
        """Return each row's best token. All answers choose together, one group after the other."""
        # [answers, groups]: the position of each row in `allowed`, -1 if its sentence is complete. It stays on the CPU: no
        # step waits for the accelerator to say how many rows there are.
        table = torch.full(((active[-1] // self.groups + 1) * self.groups,), -1)
        table[list(active)] = torch.arange(len(active))
        table, device = table.view(-1, self.groups), allowed.device
        tokens = torch.zeros(len(active), dtype=torch.long, device=device)
        for group in range(self.groups):
            here = table[table[:, group] >= 0]
            mine, later = here[:, group].to(device), here[:, group + 1 :]
            chosen = allowed[mine].argmax(-1)
            tokens[mine] = chosen
            penalty = self.diversity_penalty * ~torch.isin(chosen, ends)
            answer, column = (later >= 0).nonzero(as_tuple=True)
            owner = answer.to(device)
            allowed[later[answer, column].to(device), chosen[owner]] -= penalty[owner]
        return tokens


@dataclass(frozen=True, slots=True)
class SampledSentences:
    """Each live answer has `count` rows, and each row samples its sentence.

    The random numbers of a row are derived from the seed, the prompt's id, the tokens before the sentence and the row's
    number.
    """

    count: int
    """1 or more."""
    temperature: float
    """> 0: logits are divided by it; 1 samples from the policy as it is, values near 0 take the most probable token."""
    seed: int

    @property
    def roots(self) -> int:
        return 1

    @property
    def candidates(self) -> int:
        return self.count

    def key(self, prompt_id: str, before: Sequence[int], group: int) -> bytes:
        return _digest([self.seed, prompt_id, group, list(before)])

    def choose(self, allowed: Tensor, active: Sequence[int], rows: Sequence[Row], *, ends: Tensor) -> Tensor:  # noqa: ARG002
        return sample(allowed, [uniform(row.key, row.position) for row in rows], temperature=self.temperature)


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """The search of a prompt starts from `count` empty answers, and each samples one sentence after the other.

    The random numbers of an answer are derived from the seed, the prompt's id and the answer's number. A token that was
    decoded only to see whether a sentence had ended is drawn again, with the same number, as the next sentence's first: an
    answer is a sample of the policy's distribution over answers, as if no sentence had been told apart.
    """

    count: int
    """1 or more."""
    temperature: float
    """> 0; see `SampledSentences.temperature`."""
    seed: int

    @property
    def roots(self) -> int:
        return self.count

    @property
    def candidates(self) -> int:
        return 1

    def key(self, prompt_id: str, before: Sequence[int], group: int) -> bytes:  # noqa: ARG002 - one draw per position
        return _digest([self.seed, prompt_id, group])

    def choose(self, allowed: Tensor, active: Sequence[int], rows: Sequence[Row], *, ends: Tensor) -> Tensor:  # noqa: ARG002
        return sample(allowed, [uniform(row.key, row.position) for row in rows], temperature=self.temperature)


def uniform(key: bytes, position: int) -> float:
    """Return a number of 0..1, without 1: a hash of a row's key and a token's position in the answer."""
    digest = hashlib.blake2b(position.to_bytes(8, "big"), key=key, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def sample(logits: Tensor, numbers: Sequence[float], *, temperature: float) -> Tensor:
    """Return for each row the first token whose cumulated probability exceeds the row's number, [R].

    Probabilities are float32 and cumulated in float64. A token of probability 0 is never returned.

    Args:
        logits: [R, V]; -inf for tokens of probability 0, finite for one token or more.
        numbers: R numbers of 0..1, without 1.
        temperature: > 0; logits are divided by it.

    Example: probabilities 0.5 0.3 0.2 and the numbers 0.49 0.5 0.99 -> tokens 0 1 2
    """
    drawn = torch.tensor(numbers, dtype=torch.float64, device=logits.device)
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(numbers), _ROWS_AT_ONCE)]
    return torch.cat([_first_above(logits[part] / temperature, drawn[part]) for part in parts])


def _first_above(logits: Tensor, drawn: Tensor) -> Tensor:
    cumulated = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(cumulated, drawn[:, None] * cumulated[:, -1:], right=True)[:, 0]


def _digest(parts: object) -> bytes:
    """Return 16 bytes that depend on all parts."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()
