"""Scorecards and pairs in, the parts of the summary out: each figure gets its interval and its test against the base."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from csrdata.evaluation.equal_recall import Curve
from csrdata.evaluation.equal_recall_intervals import AtRecall
from csrdata.evaluation.intervals import Figure, figures, seed_for
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.scorecard import AT_RECALL, FIGURES, Scorecard
from csrdata.evaluation.summary import (
    BASE,
    PAIR_MEANS,
    BiasSummary,
    CurvePoint,
    EqualRecall,
    PairSummary,
    PolicySummary,
)
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
                seed=seed_for(seed, split),
            )
            for iteration, own in cards.items()
        }
        for split in cards[BASE]
    }


def with_recall(
    splits: Mapping[str, Mapping[str, PolicySummary]], found: Mapping[str, AtRecall]
) -> dict[str, dict[str, PolicySummary]]:
    """Return `Summary.splits` with the figures at the base's recall among the others.

    Args:
        splits: as `summarize_splits` returns them.
        found: by iteration, the base among them.
    """
    return {
        split: {
            name: _with_figures(policy, found[name].figures.get(split, {}))
            for name, policy in policies.items()
        }
        for split, policies in splits.items()
    }


def summarize_recall(
    found: Mapping[str, AtRecall], curves: Mapping[str, Mapping[str, Curve]], *, split: str
) -> EqualRecall:
    """Turn the biases and the curves into `Summary.equal_recall`.

    Args:
        found: by iteration, the base among them.
        curves: by iteration, then by split, at every bias.
        split: the setting split.
    """
    return EqualRecall(
        split=split,
        policies={
            name: BiasSummary(
                bias=_rounded(one.bias),
                low=_rounded(one.low),
                high=_rounded(one.high),
                outside=one.outside,
                reason=one.reason,
                curve={part: _points(curve) for part, curve in curves[name].items()},
            )
            for name, one in found.items()
        },
    )


def _with_figures(policy: PolicySummary, more: Mapping[str, Figure]) -> PolicySummary:
    own = {**policy.figures, **{AT_RECALL[name]: _round_figure(figure) for name, figure in more.items()}}
    return replace(policy, figures={name: own[name] for name in FIGURES if name in own})


def _points(curve: Curve) -> tuple[CurvePoint, ...]:
    figures = zip(curve.biases, curve.values("recall"), curve.values("chair_s"), strict=True)
    return tuple(CurvePoint(bias, _rounded(recall), _rounded(chair_s)) for bias, recall, chair_s in figures)


def summarize_pairs(
    pairs: Sequence[Pair],
    dropped: Sequence[Dropped],
    preference: TruthPreference | None,
    judging: JudgingFigures | None = None,
) -> PairSummary:
    """Turn one iteration's pairs into its entry of `Summary.pairs`.

    Args:
        pairs: those kept; a prompt may have several.
        dropped: the prompts without a pair.
        preference: over all answers of the iteration's search; None where the truth is unknown.
        judging: of the policy's verdicts on its answers; None without verdicts.
    """
    return PairSummary(
        kept=len(pairs),
        with_pairs=len({pair.prompt_id for pair in pairs}),
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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
