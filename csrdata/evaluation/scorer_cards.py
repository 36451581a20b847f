"""What any scorers say of an iteration's candidates: of the truth where it is known, of each other, and of length.

Next to the measured signals stand three values that need no scorer: `search`, the R_I that the search stored, `likelihood`,
the mean ln p of a token, and `length`, the number of words: a scorer that knows no more than `length` is of no use.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from csrdata.errors import UserError
from csrdata.evaluation.claims import is_false
from csrdata.evaluation.signal_cards import LIKELIHOOD, SignalCard, signal_cards
from csrdata.records import Sentence, Signal, Truth
from csrdata.search.responses import SEARCH
from csrdata.search.words import word_count
from csrdata.sources.base import ClaimParser

LENGTH = "length"
TENTHS = 10

Shard = tuple[Sequence[Sentence], Sequence[Signal]]


@dataclass(frozen=True, slots=True)
class ScorerCard:
    """One scorer, or a value that needs none; a figure over nothing, or without known truth, is None."""

    name: str
    sentences: int
    """Candidates with a text and a value."""
    auc: float | None
    """The chance that a random true sentence has a higher value than a random false one, percent; 50 is chance."""
    comparisons: int
    """Pairs of siblings, one of which has a smaller share of false statements."""
    sibling_preference: float | None
    """How often the truer sibling has the higher value, percent; ties count half."""
    true_by_tenth: list[float] | None
    """Calibration: the percentage of true sentences in each tenth of the values, the lowest tenth first. It should rise."""
    correlations: dict[str, float | None]
    """Spearman's correlation, -1..1, with every other value, by its name."""
    seconds_per_sentence: float | None
    """Seconds of one worker; None where no log says it."""


def scorer_cards(
    shards: Callable[[], Iterable[Shard]],
    names: Sequence[str],
    *,
    truths: Mapping[str, Truth],
    parser: ClaimParser | None,
    seconds: Mapping[str, float],
) -> list[ScorerCard]:
    """Return a card for each name; by default for `search`, `likelihood`, `length` and every measured signal.

    Args:
        shards: returns the candidates and signals of each shard; it is called twice.
        names: signals, or the three values above; empty means all.
        truths: the truth about each prompt's image, by `prompt_id`.
        parser: the parser of the images' source; None where no truth is known.
        seconds: seconds per sentence of each signal.

    Raises:
        UserError: there is no such signal.
    """
    table = pl.concat([_values(*shard, truths, parser) for shard in shards()], how="diagonal")
    known = [name for name in table.columns if name != "false"]
    for name in names:
        if name not in known:
            raise UserError(
                "NAME", got=name, expected=f"one of {', '.join(known)}", do="csrdata scorers --help"
            )
    cards = {}
    if parser is not None:
        measured = signal_cards(_with_length(shards()), truths, parser, seconds=seconds)
        cards = {card.name: card for card in measured}
    return [
        _card(name, table, known, cards.get(name), seconds.get(name))
        for name in dict.fromkeys(names or known)
    ]


def _values(
    sentences: Sequence[Sentence],
    signals: Sequence[Signal],
    truths: Mapping[str, Truth],
    parser: ClaimParser | None,
) -> pl.DataFrame:
    """Return one row per candidate with a text, one column per value, and `false`: whether a statement of it is."""
    by_name: dict[str, dict[tuple[str, int], float | None]] = {}
    for row in signals:
        by_name.setdefault(row.name, {})[row.prompt_id, row.node_id] = row.value
    spoken = [one for one in sentences if one.relevance is not None]
    columns: dict[str, list[float | None]] = {
        SEARCH: [one.relevance for one in spoken],
        LIKELIHOOD: [one.logprob / len(one.token_ids) for one in spoken],
        LENGTH: [float(word_count(one.text)) for one in spoken],
        **{
            name: [values.get((one.prompt_id, one.node_id)) for one in spoken]
            for name, values in by_name.items()
        },
    }
    false = [_is_false(one, truths, parser) for one in spoken]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64)).with_columns(
        pl.Series("false", false, dtype=pl.Boolean)
    )


def _is_false(sentence: Sentence, truths: Mapping[str, Truth], parser: ClaimParser | None) -> bool | None:
    """Return whether a statement of a sentence is false; None if it has none, or nothing is known of its image."""
    if parser is None or sentence.prompt_id not in truths:
        return None
    mentions = parser.mentions(sentence.text, truths[sentence.prompt_id])
    return any(map(is_false, mentions)) if mentions else None


def _with_length(shards: Iterable[Shard]) -> Iterator[Shard]:
    for sentences, signals in shards:
        lengths = [
            Signal(one.prompt_id, one.node_id, LENGTH, float(word_count(one.text)))
            for one in sentences
            if one.relevance is not None
        ]
        yield sentences, [*signals, *lengths]


def _card(
    name: str, table: pl.DataFrame, known: Sequence[str], truth: SignalCard | None, seconds: float | None
) -> ScorerCard:
    others = [other for other in known if other != name]
    return ScorerCard(
        name=name,
        sentences=len(table) - table[name].null_count(),
        auc=None if truth is None else truth.auc,
        comparisons=0 if truth is None else truth.comparisons,
        sibling_preference=None if truth is None else truth.sibling_preference,
        true_by_tenth=_tenths(table.select(value=name, false="false").drop_nulls()),
        correlations={other: _spearman(table.select(a=name, b=other).drop_nulls()) for other in others},
        seconds_per_sentence=seconds,
    )


def _tenths(judged: pl.DataFrame) -> list[float] | None:
    """Return the percentage of true sentences in each tenth of the values; None for fewer than ten sentences."""
    if len(judged) < TENTHS:
        return None
    tenth = (pl.col("value").rank("ordinal") - 1) * TENTHS // pl.len()
    found = judged.group_by(tenth=tenth).agg(true=100 * (~pl.col("false")).mean()).sort("tenth")
    return [float(share) for share in found["true"]]


def _spearman(both: pl.DataFrame) -> float | None:
    """Return Spearman's correlation; None if a value is constant, or of fewer than two rows."""
    if both["a"].n_unique() < 2 or both["b"].n_unique() < 2:
        return None
    return float(both.select(pl.corr("a", "b", method="spearman")).item())
