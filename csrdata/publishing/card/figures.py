"""The figures of a release's card, from the release's tables: one record per iteration.

These are only the figures that a reader needs to judge the pairs; `csrdata stats` shows more. Percentages are 0 to 100.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from csrdata.inspection.histogram import Histogram
from csrdata.inspection.pair_bias import FORM
from csrdata.inspection.stats import words
from csrdata.publishing.release.layout import candidate_glob, own_table

BINS = 30

BASE_POLICY = "base"
"""The name of the policy before the first iteration."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One figure of chosen and rejected answers."""

    chosen: float
    """The mean over chosen answers."""
    rejected: float
    """The mean over rejected answers."""
    bins: tuple[Histogram, Histogram]
    """The histograms of chosen and rejected answers, with the same bins."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one iteration's pairs, answers and candidates."""

    name: str
    by_origin: dict[str, int]
    """Number of pairs, by their `Pair.origin`."""
    by_form: dict[str, int]
    """Number of pairs, by their `Form`."""
    by_fate: dict[str, int]
    """Number of candidates, by their `Fate`."""
    answers: int
    finished: float
    """Percent of the answers that ended with end-of-sequence."""
    reward: Contrast | None
    """None, here and below, if no pair has that score."""
    reward_held_out: Contrast | None
    relevance: Contrast | None
    """R_I, 0..100."""
    words: Contrast
    margin: Histogram | None
    """None too if the margins of pairs are on several scales, because their origins differ."""
    margins: tuple[float, float, float] | None
    """The margin that 10, 50 and 90 percent of the pairs do not exceed."""
    held_out_agrees: float | None
    """Percent of the pairs whose chosen answer the held-out scorer's reward also prefers, of those with both rewards."""
    chosen_shorter: float
    """Percent of the pairs whose chosen answer has fewer words."""
    longer_wins: float
    """Probability, 0..1, that a chosen answer has more words than a rejected one, a tie counts half: 0.5 means that length
    does not matter."""


def figures(folder: Path, names: Sequence[str]) -> list[Figures]:
    """Return the figures of some iterations of a release; each iteration has at least one pair."""
    pairs = [_with_words(pl.read_parquet(folder / own_table(name, "pairs"))) for name in names]
    # Shared bins, so that iterations can be compared by eye.
    spans = {
        column: _span([table[f"{side}_{column}"] for table in pairs for side in ("chosen", "rejected")])
        for column in ("reward", "reward_held_out", "relevance")
    }
    low, high = _span([table[f"{side}_words"] for table in pairs for side in ("chosen", "rejected")])
    spans["words"] = (low, low + BINS * math.ceil((high - low + 1) / BINS))  # bins of whole words
    margins = _span([_margins(table) for table in pairs])
    return [
        _figures(folder, name, table, spans=spans, margins=margins)
        for name, table in zip(names, pairs, strict=True)
    ]


def _with_words(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs with numbers of words counted from the texts, which works for pairs without scores too."""
    return pairs.with_columns(chosen_words=words(pairs, "chosen"), rejected_words=words(pairs, "rejected"))


def _figures(
    folder: Path,
    name: str,
    pairs: pl.DataFrame,
    *,
    spans: dict[str, tuple[float, float]],
    margins: tuple[float, float],
) -> Figures:
    answers = pl.scan_parquet(folder / own_table(name, "responses"))
    counted = answers.select(count=pl.len(), finished=100 * pl.col("finished").mean()).collect().row(0)
    fates = pl.scan_parquet(str(folder / candidate_glob(name))).group_by("fate").len().collect()
    margin = _margins(pairs)
    p10, p50, p90 = (float(margin.quantile(at, "linear") or 0) for at in (0.1, 0.5, 0.9))
    agrees = (pairs["chosen_reward_held_out"] > pairs["rejected_reward_held_out"]).drop_nulls()
    return Figures(
        name=name,
        by_origin=dict(sorted(pairs["origin"].value_counts().iter_rows())),
        by_form=dict(sorted(pairs.select(form=FORM)["form"].value_counts().iter_rows())),
        by_fate=dict(sorted(fates.iter_rows())),
        answers=counted[0],
        finished=counted[1],
        reward=_contrast(pairs, "reward", spans["reward"]),
        reward_held_out=_contrast(pairs, "reward_held_out", spans["reward_held_out"]),
        relevance=_contrast(pairs, "relevance", spans["relevance"]),
        words=_contrast_of(pairs["chosen_words"], pairs["rejected_words"], spans["words"]),
        margin=_histogram(margin, margins) if len(margin) else None,
        margins=(p10, p50, p90) if len(margin) else None,
        held_out_agrees=_share(agrees) if len(agrees) else None,
        chosen_shorter=_share(pairs["chosen_words"] < pairs["rejected_words"]),
        longer_wins=_longer_wins(pairs["chosen_words"], pairs["rejected_words"]),
    )


def _margins(pairs: pl.DataFrame) -> pl.Series:
    """Return the margins that are known; none if they are on different scales."""
    known = pairs.drop_nulls("margin")
    return known["margin"].head(len(known) if known["origin"].n_unique() == 1 else 0)


def _contrast(pairs: pl.DataFrame, column: str, span: tuple[float, float]) -> Contrast | None:
    """Return the contrast of a score over the pairs that have it for both answers; None without such pairs."""
    known = pairs.drop_nulls([f"chosen_{column}", f"rejected_{column}"])
    if not len(known):
        return None
    return _contrast_of(known[f"chosen_{column}"], known[f"rejected_{column}"], span)


def _contrast_of(chosen: pl.Series, rejected: pl.Series, span: tuple[float, float]) -> Contrast:
    return Contrast(
        chosen=_mean(chosen),
        rejected=_mean(rejected),
        bins=(_histogram(chosen, span), _histogram(rejected, span)),
    )


def _histogram(values: pl.Series, span: tuple[float, float]) -> Histogram:
    """Count values in bins of equal width over a span that contains all of them."""
    low, high = span
    counts = [0] * BINS
    for value in values:
        counts[min(int(BINS * (value - low) / (high - low)), BINS - 1) if high > low else 0] += 1
    return Histogram(low, high, tuple(counts))


def _span(parts: Sequence[pl.Series]) -> tuple[float, float]:
    values = [value for part in parts for value in (part.min(), part.max()) if isinstance(value, int | float)]
    return float(min(values, default=0)), float(max(values, default=0))


def _longer_wins(chosen: pl.Series, rejected: pl.Series) -> float:
    """Return the Mann-Whitney statistic as a share of the comparisons, 0..1."""
    ranks = pl.concat([chosen, rejected]).rank("average")[: len(chosen)]
    return (float(ranks.sum()) - len(chosen) * (len(chosen) + 1) / 2) / (len(chosen) * len(rejected))


def _mean(values: pl.Series) -> float:
    return math.fsum(values) / len(values)


def _share(values: pl.Series) -> float:
    return 100 * int(values.sum()) / len(values)


def in_order(names: Sequence[str], chain: Mapping[str, Any]) -> list[str]:
    """Return the policies that a release is about: the base, then the iterations in order, each after its predecessors.

    Example: names ["b"] with `{"b": {"previous": "a"}, "a": {"previous": "base"}}` -> ["base", "a", "b"]
    """
    found = [BASE_POLICY]
    for name in names:
        line: list[str] = []
        while name in chain and name not in found and name not in line:
            line.append(name)
            name = chain[name]["previous"]  # noqa: PLW2901 - walks back along the chain
        found += reversed(line)
    return found
