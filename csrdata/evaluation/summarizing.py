"""Scorecards and pairs in, the parts of the summary out: each figure gets its interval and its test against the base."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from csrdata.evaluation.intervals import Figure, figures
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.scorecard import Scorecard
from csrdata.evaluation.summary import BASE, PAIR_MEANS, PairSummary, PolicySummary
from csrdata.evaluation.truth_preference import TruthPreference
from csrdata.records import Dropped, Pair

DIGITS = 6
"""Decimals kept: smaller differences come from the order of summation."""


def summarize_splits(
    cards: Mapping[str, Mapping[str, Scorecard]], *, resamples: int, confidence: float, seed: int
) -> dict[str, dict[str, PolicySummary]]:
    """Turn scorecards into `Summary.splits`.

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
    preference: TruthPreference | None,
    judging: JudgingFigures | None = None,
) -> PairSummary:
    """Turn one iteration's pairs into its entry of `Summary.pairs`.

    Args:
        pairs: those kept.
        dropped: the other prompts.
        preference: over all answers of the iteration's search; None where the truth is unknown.
        judging: of the policy's verdicts on its answers; None where there are none.
    """
    return PairSummary(
        kept=len(pairs),
        dropped=dict(sorted(Counter(row.reason for row in dropped).items())),
        **{name: mean_score(pairs, name) for name in PAIR_MEANS},
        truth_preference=None
        if preference is None
        else replace(
            preference,
            reward=_rounded(preference.reward),
            likelihood=_rounded(preference.likelihood),
            relevance=_rounded(preference.relevance),
        ),
        judging=None
        if judging is None
        else replace(judging, agreed=_rounded(judging.agreed), accuracy=_rounded(judging.accuracy)),
    )


def mean_score(pairs: Sequence[Pair], name: str) -> float | None:
    """Return the mean of a score over the pairs where it is known, rounded; None where it never is."""
    known = [value for pair in pairs if (value := getattr(pair.scores, name)) is not None]
    return _rounded(fmean(known)) if known else None


def _summarize_card(
    own: Scorecard, base: Scorecard | None, *, resamples: int, confidence: float, seed: int
) -> PolicySummary:
    if base is not None and own.images != base.images:
        raise ValueError("a paired test needs the base's figures on the same images")
    found = figures(
        own.ratios,
        None if base is None else base.ratios,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    kinds = own.false_by_kind
    return PolicySummary(
        figures={name: _round_figure(figure) for name, figure in found.items()},
        false_by_kind=None
        if kinds is None
        else {kind: round(count, DIGITS) for kind, count in kinds.items()},
    )


def _round_figure(figure: Figure) -> Figure:
    return Figure(
        value=_rounded(figure.value),
        low=_rounded(figure.low),
        high=_rounded(figure.high),
        p_vs_base=_rounded(figure.p_vs_base),
    )


def _seed_for(seed: int, split: str) -> int:
    """Derive a split's own seed: no split's figures depend on which others there are."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{split}".encode(), digest_size=8).digest(), "big")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
