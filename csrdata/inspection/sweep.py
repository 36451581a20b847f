"""The pairs that other weights, scales, aggregates or margins would select, from the stored values of a search; no model.

All prompts of a batch are computed at once: rewards as in `csrdata.search.responses.sentence_rewards`, pairs as in
`csrdata.search.answer_pairs.select`, with the same figures to the last bit. What does not depend on a setting (texts,
lengths, paths, which answers may be a pair) is computed once for each batch, the scales once for each scale.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl

from csrdata.inspection.batch_pairs import NONE, allowed_pairs, select
from csrdata.inspection.batch_rewards import (
    Bools,
    Components,
    Floats,
    Groups,
    Integers,
    aggregated,
    without_gaps,
)
from csrdata.inspection.lengths import words_in
from csrdata.records import NO_PARENT, Fate, Prompt

TruthOf = Callable[[Prompt, str], float | None]
"""Return the share of an answer's statements that are false, 0..1; None where nothing is known or said."""

BATCH = 1000
"""Prompts that are computed at once."""
_BLANKS = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""What `str.strip` takes off."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A point of the grid."""

    image_weight: float
    """Lambda of equation 4, 0..1."""
    scale: str
    aggregate: str
    margin: float
    """Smallest difference of rewards, >= 0."""


@dataclass(frozen=True, slots=True)
class Searches:
    """What is known of the search of some prompts."""

    prompts: Sequence[Prompt]
    """In the order of the trees."""
    sentences: pl.DataFrame
    """`Sentence` rows: the whole tree of each of the prompts, one after the other."""
    image_term: pl.Series | None = None
    """The signal that takes the place of R_I, for each row, null where it says nothing; None for the R_I of the search."""


@dataclass(frozen=True, slots=True)
class SweepRow:
    """The pairs that a setting selects. Percentages are 0..100; a figure over nothing is None."""

    setting: Setting
    pairs: int
    changed: int
    """Prompts whose pairs are not those of the present setting: another chosen or rejected answer, a pair more or less."""
    flipped: int
    """Among them: prompts with a pair whose sides are swapped."""
    mean_margin: float | None
    """On the setting's own scale."""
    mean_length_gap: float | None
    """Words: chosen - rejected."""
    chosen_shorter: float | None
    comparisons: int
    """Pairs whose sides differ in truth; 0 where it is unknown."""
    truer_chosen: float | None
    """How often the chosen side of these pairs is the truer one, percent."""


@dataclass
class _Counts:
    pairs: int = 0
    changed: int = 0
    flipped: int = 0
    margins: float = 0.0
    gaps: int = 0
    shorter: int = 0
    comparisons: int = 0
    truer: int = 0

    def row(self, setting: Setting) -> SweepRow:
        def mean(total: float, count: int) -> float | None:
            return total / count if count else None

        return SweepRow(
            setting,
            pairs=self.pairs,
            changed=self.changed,
            flipped=self.flipped,
            mean_margin=mean(self.margins, self.pairs),
            mean_length_gap=mean(self.gaps, self.pairs),
            chosen_shorter=mean(100 * self.shorter, self.pairs),
            comparisons=self.comparisons,
            truer_chosen=mean(100 * self.truer, self.comparisons),
        )


def grid(
    *,
    image_weights: Iterable[float],
    scales: Iterable[str],
    aggregates: Iterable[str],
    margins: Iterable[float],
) -> list[Setting]:
    """Return every combination, the weights fastest."""
    return [
        Setting(weight, scale, how, margin)
        for scale, how, margin, weight in product(scales, aggregates, margins, image_weights)
    ]


def sweep(
    searches: Iterable[Searches],
    settings: Sequence[Setting],
    *,
    present: Setting,
    repetition_threshold: float | None,
    max_length_gap: float,
    per_prompt: int,
    false_share: TruthOf | None = None,
) -> list[SweepRow]:
    """Return what each setting selects; one batch of searches is in memory at a time.

    Args:
        searches: the search of every prompt, in batches of about `BATCH` prompts.
        settings: the grid.
        present: the setting that `changed` and `flipped` compare with.
        repetition_threshold: see `csrdata.search.reward.without_repetitions`.
        max_length_gap, per_prompt: see `csrdata.search.answer_pairs.select`.
        false_share: what is known of the truth; None if nothing is.
    """
    counts = [_Counts() for _ in settings]
    for some in searches:
        batch = _Batch(some, repetition_threshold=repetition_threshold, max_length_gap=max_length_gap)
        chosen = {
            setting: batch.pairs(setting, per_prompt=per_prompt)
            for setting in dict.fromkeys([present, *settings])
        }
        shares = batch.false_shares(chosen.values(), false_share)
        for setting, count in zip(settings, counts, strict=True):
            _add(count, chosen[setting], before=chosen[present], words=batch.words, shares=shares)
    return [count.row(setting) for count, setting in zip(counts, settings, strict=True)]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of a batch under one setting, [P, per_prompt]: places of the answers in the batch, `NONE` for no pair."""

    chosen: Integers
    rejected: Integers
    margins: Floats


class _Batch:
    """The finished answers to some prompts, under any setting.

    Answers are flat, those of a prompt one after the other; `_places` has the answers of a prompt in a row.
    """

    def __init__(
        self, searches: Searches, *, repetition_threshold: float | None, max_length_gap: float
    ) -> None:
        self._prompts, table = searches.prompts, searches.sentences
        trees = Groups.of(
            table.select(pl.col("prompt_id").rle().struct.field("len"))
            .to_series()
            .to_numpy()
            .astype(np.int64)
        )
        self._components, scored = _components(searches, trees, repetition_threshold)
        rows = _leaves(table)
        paths = _paths(rows, table, trees)
        texts = _joined(paths, table["text"])
        bare = texts.str.strip_chars(_BLANKS)
        said = np.flatnonzero((bare != "").to_numpy())
        self._texts, paths = texts.gather(said), np.append(scored, -1)[paths[said]]
        self._paths = [column for column in paths.T if (column != -1).any()]
        self._counts: Integers = (paths != -1).sum(axis=1)
        self._trees = trees.numbers()[rows[said]]
        self._places = _places(self._trees, len(self._prompts))
        self.words: Integers = words_in(self._texts).to_numpy()
        self._there = self._places != NONE
        self._same = _equal_texts(bare.gather(said))[self._places]
        self._allowed = allowed_pairs(
            self._same, np.append(self.words, 0)[self._places], self._there, max_length_gap=max_length_gap
        )
        self._on_scale: dict[str, list[tuple[Floats, Floats]]] = {}

    def pairs(self, setting: Setting, *, per_prompt: int) -> _Pairs:
        """Return the pairs that a setting selects."""
        rewards = [
            setting.image_weight * image + (1 - setting.image_weight) * language
            for image, language in self._terms(setting.scale)
        ]
        values = aggregated(rewards, self._counts, setting.aggregate)
        if not len(values):
            nothing = np.full((len(self._prompts), per_prompt), NONE)
            return _Pairs(nothing, nothing, np.zeros(nothing.shape))
        high, low = select(
            values[self._places],
            self._same,
            self._there,
            self._allowed,
            margin=setting.margin,
            per_prompt=per_prompt,
        )
        every = np.arange(len(self._places))[:, None]
        chosen, rejected = (np.where(side == NONE, NONE, self._places[every, side]) for side in (high, low))
        return _Pairs(chosen, rejected, values[chosen] - values[rejected])

    def _terms(self, scale: str) -> list[tuple[Floats, Floats]]:
        """Return both terms of the last sentence of each answer, of the one before it, and so on; 0 without a sentence."""
        if scale not in self._on_scale:
            image, language = (np.append(term, 0.0) for term in self._components.on_scale(scale))
            self._on_scale[scale] = [(image[column], language[column]) for column in self._paths]
        return self._on_scale[scale]

    def false_shares(self, selected: Iterable[_Pairs], false_share: TruthOf | None) -> Floats:
        """Return the share of false statements of each answer that any setting selects; NaN where it is unknown."""
        shares = np.full(len(self.words), np.nan)
        if false_share is not None:
            sides = [side.ravel() for pairs in selected for side in (pairs.chosen, pairs.rejected)]
            wanted = np.unique(np.concatenate(sides))
            for answer in wanted[wanted != NONE]:
                share = false_share(self._prompts[self._trees[answer]], self._texts[int(answer)])
                shares[answer] = np.nan if share is None else share
        return shares


def _components(
    searches: Searches, trees: Groups, repetition_threshold: float | None
) -> tuple[Components, Integers]:
    """Return the two terms of the sentences with a text, and the place of every row among these, -1 for the others."""
    table = searches.sentences
    term = table["relevance"] if searches.image_term is None else searches.image_term
    rows = table["relevance"].is_not_null()
    scored = rows.to_numpy()
    tokens = pl.col("token_ids").list.len().cast(pl.Int64)
    some = table.select("logprob", "parent_id", "repetition", tokens=tokens).filter(rows)
    own = Groups.of(np.bincount(trees.numbers()[scored], minlength=len(trees.sizes)))
    relevances = without_gaps(term.filter(rows).cast(pl.Float64).fill_null(np.nan).to_numpy(), own)
    if repetition_threshold is not None:
        repeated = some["repetition"].fill_null(0.0).to_numpy() >= repetition_threshold
        relevances = np.where(repeated, 0.0, relevances)
    components = Components(
        some["logprob"].to_numpy(),
        some["tokens"].to_numpy(),
        relevances,
        some["parent_id"].to_numpy(),
        own,
    )
    return components, np.where(scored, np.cumsum(scored) - 1, -1)


def _leaves(table: pl.DataFrame) -> Integers:
    """Return the rows where a finished answer ends that tokenises as it was generated."""
    found: Integers = (
        table.select(
            ((pl.col("fate") == Fate.FINISHED.value) & pl.col("canonical")).fill_null(value=False).arg_true()
        )
        .to_series()
        .to_numpy()
        .astype(np.int64)
    )
    return found


def _paths(leaves: Integers, table: pl.DataFrame, trees: Groups) -> Integers:
    """Return the rows of each answer, from the leaf to the first sentence, [A, depth]; -1 behind the first one.

    Node ids count up from 0 in each tree (`csrdata.storage.values`), so that a tree's first row and an id give a row.
    """
    parents = table["parent_id"].to_numpy()
    first = trees.starts[trees.numbers()]
    above = np.append(np.where(parents == NO_PARENT, -1, first + parents), -1)
    columns, rows = [], leaves
    while len(rows) and (rows >= 0).any():
        columns.append(rows)
        rows = above[rows]
    return np.stack(columns, axis=1) if columns else np.empty((0, 1), dtype=np.int64)


def _joined(paths: Integers, texts: pl.Series) -> pl.Series:
    """Return the text of each answer."""
    if not len(paths):
        return pl.Series([], dtype=pl.String)
    padded = pl.concat([texts, pl.Series([""])])  # -1, behind the first sentence, is the last text
    columns = [padded.gather(pl.Series(rows % len(padded))) for rows in paths.T[::-1]]
    return pl.select(pl.concat_str([pl.lit(one) for one in columns])).to_series()


def _places(trees: Integers, count: int) -> Integers:
    """Return the answers of each prompt, [P, most], filled up with `NONE`."""
    own = Groups.of(np.bincount(trees, minlength=count))
    found = np.full((count, max(1, int(own.sizes.max(initial=0)))), NONE)
    found[trees, np.arange(len(trees)) - own.starts[trees]] = np.arange(len(trees))
    return found


def _equal_texts(texts: pl.Series) -> Integers:
    """Return a number for each text, equal for equal texts; -1 is appended."""
    table = pl.DataFrame({"text": texts}).with_row_index()
    found = table.select(pl.col("index").first().over("text")).to_series().to_numpy()
    return np.append(found.astype(np.int64), -1)


def _add(count: _Counts, pairs: _Pairs, *, before: _Pairs, words: Integers, shares: Floats) -> None:
    other = (pairs.chosen != before.chosen) | (pairs.rejected != before.rejected)
    count.changed += int(other.any(axis=1).sum())
    swapped: Bools = (pairs.chosen[:, :, None] == before.rejected[:, None, :]) & (
        pairs.rejected[:, :, None] == before.chosen[:, None, :]
    )
    count.flipped += int((swapped & (pairs.chosen != NONE)[:, :, None]).any(axis=(1, 2)).sum())
    there = pairs.chosen != NONE
    chosen, rejected = pairs.chosen[there], pairs.rejected[there]
    gaps = words[chosen] - words[rejected]
    count.pairs += len(chosen)
    # One after the other, as a loop adds them: the order of a sum shows in its last digits.
    count.margins = float(np.cumsum(np.append(count.margins, pairs.margins[there]))[-1])
    count.gaps += int(gaps.sum())
    count.shorter += int((gaps < 0).sum())
    one, other_share = shares[chosen], shares[rejected]
    count.comparisons += int((~np.isnan(one) & ~np.isnan(other_share) & (one != other_share)).sum())
    count.truer += int((one < other_share).sum())
