"""A report card of each signal, where the truth is known: does it tell true sentences from false ones?

A *statement* is a mention of an object; a sentence is false if one of its statements is (`claims.is_false`). Sentences
without a statement are left out. Two values of the search itself are judged with the signals: `search`, the R_I that it
stored, and `likelihood`, the mean ln p of a token.

Truth is only for evaluation: nothing that makes pairs reads a card.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csrdata.errors import UserError
from csrdata.evaluation.claims import is_false
from csrdata.records import Sentence, Signal, Truth
from csrdata.search.responses import SEARCH
from csrdata.sources.base import ClaimParser

LIKELIHOOD = "likelihood"
OVERHEAD = ("read", "write")
"""Activities of the run log that are not signals."""


@dataclass(frozen=True, slots=True)
class SignalCard:
    """How well a signal knows the truth; a figure that no sentence decides is None."""

    name: str
    sentences: int
    """Sentences with a statement and a value."""
    auc: float | None
    """The chance that a random true sentence has a higher value than a random false one, percent; ties count half. 50 is no
    better than chance."""
    comparisons: int
    """Pairs of siblings, one of which has a smaller share of false statements. Siblings continue the same beginning."""
    sibling_preference: float | None
    """How often the truer sibling has the higher value, percent; ties count half."""
    likelihood_correlation: float | None
    """Spearman's correlation, -1..1, with the mean ln p of a token: near 0, the signal adds something to R_T."""
    seconds_per_sentence: float | None
    """Seconds of one worker, from the run log; None where no log says it."""


@dataclass
class _Measured:
    """What has been seen of one signal."""

    values: list[float] = field(default_factory=list)
    false: list[bool] = field(default_factory=list)
    likelihoods: list[float] = field(default_factory=list)
    comparisons: int = 0
    points: float = 0.0


def signal_cards(
    shards: Iterable[tuple[Sequence[Sentence], Sequence[Signal]]],
    truths: Mapping[str, Truth],
    parser: ClaimParser,
    *,
    seconds: Mapping[str, float],
) -> list[SignalCard]:
    """Return a card for each signal: `search` and `likelihood`, then the measured ones in their order.

    One shard is in memory at a time; of a sentence, a few numbers are kept.

    Args:
        shards: the candidates of each shard, and their signals.
        truths: the truth about each prompt's image, by `prompt_id`.
        parser: the parser of the images' source.
        seconds: seconds per sentence of each signal, as `seconds_per_sentence` reads them.

    Raises:
        UserError: the truth about the image of a candidate is not known.
    """
    found: dict[str, _Measured] = {SEARCH: _Measured(), LIKELIHOOD: _Measured()}
    for sentences, signals in shards:
        by_name: dict[str, dict[tuple[str, int], float | None]] = {}
        for row in signals:
            by_name.setdefault(row.name, {})[row.prompt_id, row.node_id] = row.value
        families: dict[tuple[str, int], list[tuple[Sentence, float]]] = {}
        for sentence in sentences:
            share = None if sentence.relevance is None else _false_share(sentence, truths, parser)
            if share is not None:
                families.setdefault((sentence.prompt_id, sentence.parent_id), []).append((sentence, share))
        for siblings in families.values():
            likelihoods = [one.logprob / len(one.token_ids) for one, _ in siblings]
            shares = [share for _, share in siblings]
            own: dict[str, list[float | None]] = {
                SEARCH: [one.relevance for one, _ in siblings],
                LIKELIHOOD: list(likelihoods),
            }
            for name, stored in by_name.items():
                own[name] = [stored.get((one.prompt_id, one.node_id)) for one, _ in siblings]
            for name, values in own.items():
                _add(found.setdefault(name, _Measured()), values, shares, likelihoods)
    return [_card(name, one, seconds.get(name)) for name, one in found.items()]


def seconds_per_sentence(log: Path) -> dict[str, float]:
    """Return the seconds of one worker for each sentence, by signal, from the run log of `measure_signals`.

    Each signal is one activity of the log, and one row for each sentence. If a shard was measured more than once, the last
    time counts. Empty without a log, as after a checkout from the cache.
    """
    if not log.is_file():
        return {}
    shards: dict[int, tuple[float, dict[str, float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # a kill cut the line off
            continue
        if event.get("event") == "shard":
            spent = {name: time for name, time in event["spent"].items() if name not in OVERHEAD}
            shards[event["index"]] = (event["rows"] / max(1, len(spent)), spent)
    sentences = sum(count for count, _ in shards.values())
    names = dict.fromkeys(name for _, spent in shards.values() for name in spent)
    if not sentences:
        return {}
    return {name: sum(spent.get(name, 0.0) for _, spent in shards.values()) / sentences for name in names}


def _false_share(sentence: Sentence, truths: Mapping[str, Truth], parser: ClaimParser) -> float | None:
    """Return the share of a sentence's statements that are false, 0..1; None if it has none."""
    if sentence.prompt_id not in truths:
        raise UserError(
            f"candidates of prompt {sentence.prompt_id}",
            got="an image without known truth",
            expected="a prompt of the prompts' table, with the truth about its image",
            do="dvc repro",
        )
    mentions = parser.mentions(sentence.text, truths[sentence.prompt_id])
    return sum(map(is_false, mentions)) / len(mentions) if mentions else None


def _add(
    measured: _Measured,
    values: Sequence[float | None],
    shares: Sequence[float],
    likelihoods: Sequence[float],
) -> None:
    """Add the siblings that have a value."""
    known = [
        (value, share, likelihood)
        for value, share, likelihood in zip(values, shares, likelihoods, strict=True)
        if value is not None
    ]
    measured.values += [value for value, _, _ in known]
    measured.false += [share > 0 for _, share, _ in known]
    measured.likelihoods += [likelihood for _, _, likelihood in known]
    for value, share, _ in known:
        for other, other_share, _ in known:
            if share < other_share:
                measured.comparisons += 1
                measured.points += (1 + np.sign(value - other)) / 2


def _card(name: str, measured: _Measured, seconds: float | None) -> SignalCard:
    values, false = np.asarray(measured.values), np.asarray(measured.false, dtype=bool)
    return SignalCard(
        name=name,
        sentences=len(values),
        auc=_auc(values, false),
        comparisons=measured.comparisons,
        sibling_preference=100 * float(measured.points) / measured.comparisons
        if measured.comparisons
        else None,
        likelihood_correlation=None
        if name == LIKELIHOOD
        else _correlation(values, np.asarray(measured.likelihoods)),
        seconds_per_sentence=seconds,
    )


def _auc(values: NDArray[np.float64], false: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve, percent: from the ranks of the true sentences (Mann and Whitney)."""
    true_count, false_count = int((~false).sum()), int(false.sum())
    if not true_count or not false_count:
        return None
    above = _midranks(values)[~false].sum() - true_count * (true_count + 1) / 2
    return 100 * float(above) / (true_count * false_count)


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Return Spearman's correlation; None if one of the two is constant."""
    if len(one) < 2:
        return None
    first, second = (_midranks(values) - (len(values) + 1) / 2 for values in (one, other))
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / spread if spread else None


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value, 1 for the lowest; equal values share their mean rank.

    Example: 5 3 5 -> 2.5 1 2.5
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group], dtype=np.float64)
