"""The summary that others read: every figure with its interval, and each iteration's pairs, in one stable form.

    {"iterations": ["base", "1", ...],
     "splits": {SPLIT: {"base": {FIGURE: {"value", "low", "high", "p_vs_base"}, ...,
                              "false_by_kind": {KIND: n}}, "1": ...}, ...},
     "pairs": {"1": {"kept", "dropped": {REASON: n}, "chosen_reward", ..., "truth_preference": {...}}, ...},
     "training": {"1": {...}, ...}, "prepared": {"machine": {...}, ...}}

"iterations" is the order of all tables: the base policy, then the iterations as params.yaml has them. FIGURE is a name of
`scorecard.FIGURES`. Percentages are 0 to 100; what does not exist is null.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from csrdata.evaluation.intervals import Figure, figures
from csrdata.evaluation.scorecard import Scorecard
from csrdata.evaluation.truth_preference import truth_preference
from csrdata.records import Dropped, Pair, Response, Truth
from csrdata.sources.base import ClaimParser

BASE = "base"
"""The base's name among the iterations."""
DIGITS = 6
"""Decimals kept: below them lies the order of summation."""

_PAIR_MEANS = ("chosen_reward", "rejected_reward", "chosen_reward_held_out", "rejected_reward_held_out")


def summarize_splits(
    cards: Mapping[str, Mapping[str, Scorecard]], *, resamples: int, confidence: float, seed: int
) -> dict[str, Any]:
    """Turn scorecards into the summary's "splits".

    Args:
        cards: by iteration ("base" is the base policy and must be there), then by split.
        resamples, confidence: see `intervals.figures`.
        seed: with the split's name it gives the resamples, the same for all iterations.
    """
    return {
        split: {
            iteration: _summarize_card(
                own[split],
                None if iteration == BASE else cards[BASE][split],
                resamples=resamples,
                confidence=confidence,
                seed=_seed_for(seed, split),
            )
            for iteration, own in cards.items()
        }
        for split in cards[BASE]
    }


def summarize_pairs(
    pairs: Sequence[Pair],
    dropped: Sequence[Dropped],
    responses: Sequence[Response],
    truths: Mapping[str, Truth],
    reader: ClaimParser,
) -> dict[str, Any]:
    """Turn one iteration's pairs into its entry of the summary's "pairs".

    Args:
        responses: all answers of the iteration's search.
        truths: the truth about each prompt's image, by `prompt_id`.
    """
    means = {name: mean_score(pairs, name) for name in _PAIR_MEANS}
    preference = asdict(truth_preference(responses, truths, reader))
    return {
        "kept": len(pairs),
        "dropped": dict(sorted(Counter(row.reason for row in dropped).items())),
        **means,
        "truth_preference": {name: _rounded(value) for name, value in preference.items()},
    }


HEADLINE_SPLIT = "held_out"


def headline(summary: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Return the ten figures that one steers by: the last iteration on held-out images, and the base where it matters.

    `chair_s`, `chair_s_base`, `recall`, `recall_base`, `pope_accuracy`, `repetition` in percent; `words` per answer;
    `relevance_held_out` 0 to 100, by the scorer that the search never used; `pairs` of the last iteration; `prefers_truer`,
    percent of compared answers in which the reward prefers the truer one. Null where a figure does not exist.
    """
    last = summary["iterations"][-1]
    split = summary["splits"].get(HEADLINE_SPLIT) or next(iter(summary["splits"].values()))
    pairs = summary["pairs"].get(last, {})

    def figure(policy: str, name: str) -> float | None:
        value: float | None = split[policy][name]["value"]
        return value

    return {
        "chair_s": figure(last, "chair_s"),
        "chair_s_base": figure(BASE, "chair_s"),
        "pairs": pairs.get("kept"),
        "pope_accuracy": figure(last, "pope_accuracy"),
        "prefers_truer": pairs.get("truth_preference", {}).get("reward"),
        "recall": figure(last, "recall"),
        "recall_base": figure(BASE, "recall"),
        "relevance_held_out": figure(last, "relevance_held_out"),
        "repetition": figure(last, "repetition"),
        "words": figure(last, "length"),
    }


def _summarize_card(
    own: Scorecard, base: Scorecard | None, *, resamples: int, confidence: float, seed: int
) -> dict[str, Any]:
    if base is not None and own.images != base.images:
        raise ValueError("a paired test needs the base's figures on the same images")
    found = figures(
        own.ratios,
        None if base is None else base.ratios,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    kinds = {kind: _rounded(count) for kind, count in own.false_by_kind.items()}
    return {**{name: _figure(figure) for name, figure in found.items()}, "false_by_kind": kinds}


def _figure(figure: Figure) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in asdict(figure).items()}


def _seed_for(seed: int, split: str) -> int:
    """Derive a split's own seed: no split's figures depend on which others there are."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{split}".encode(), digest_size=8).digest(), "big")


def mean_score(pairs: Sequence[Pair], name: str) -> float | None:
    """Return the mean of a score over the pairs where it is known, rounded; None where it never is."""
    known = [value for pair in pairs if (value := getattr(pair.scores, name)) is not None]
    return _rounded(fmean(known)) if known else None


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else round(value, DIGITS)
