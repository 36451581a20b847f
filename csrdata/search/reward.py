"""Rewards: equation 4 on a chosen scale, and its aggregate over an answer (arXiv 2405.14622, section 3.2).

A sentence has two raw components: R_T, its probability (equation 2), stored as `logprob` and `tokens`; and R_I, its
relevance to the image in 0..100 (equation 3). As printed, equation 4 adds a number up to 100 to one below 1, so that the
language term has no effect; the *scale* says how the two are made comparable. Tables store the raw components; every
reward is computed from them by this module.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from statistics import fmean


class Scale(StrEnum):
    """How R_I and R_T are made comparable before they are weighted."""

    RAW = "raw"
    """Equation 4 as printed: R_I in 0..100 and R_T in 0..1."""
    UNIT = "unit"
    """R_I / 100 and R_T: both in 0..1."""
    GEOMETRIC = "geometric"
    """R_I / 100 and the geometric mean of the tokens' probabilities, which does not tend to 0 with length."""
    RANK = "rank"
    """Each component's mid-rank among the sentences given, 0 (lowest) to 1 (highest)."""
    ZSCORE = "zscore"
    """R_I and ln R_T, each standardised over the sentences given. R_T is not taken per token: a mean over tokens rewards
    wordings with more empty words ("I can see a ..."), and a policy soon learns to open every sentence that way."""


class Aggregate(StrEnum):
    """How sentence rewards become an answer's."""

    SUM = "sum"
    """The paper's: positive rewards favour long answers."""
    MEAN = "mean"


def calibrate(
    logprobs: Sequence[float],
    tokens: Sequence[int],
    relevances: Sequence[float],
    *,
    image_weight: float,
    scale: Scale | str,
) -> list[float]:
    """Return the calibrated rewards of sentences that are compared with each other (equation 4).

    R(s) = image_weight * R_I(s) + (1 - image_weight) * R_T(s), both on `scale`.

    Args:
        logprobs: sums of natural-log token probabilities, <= 0, one per sentence.
        tokens: tokens of each sentence, 1 or more.
        relevances: R_I of each sentence, 0..100.
        image_weight: lambda, 0..1; 0 is likelihood alone, 1 relevance alone.
        scale: `rank` and `zscore` depend on which sentences are given: those of one depth when guiding the search, those
            of a prompt's tree when scoring. The other scales take each sentence by itself.

    Raises:
        ValueError: a log-probability or a relevance is not finite.

    Example: one sentence of probability 0.5 and relevance 30, image_weight 0.9: raw 27.05, unit 0.32.
    """
    for name, values in (("log-probability", logprobs), ("relevance", relevances)):
        for index, value in enumerate(values):
            if not math.isfinite(value):
                raise ValueError(f"sentence {index}: the {name} is {value}, expected a finite number")
    scale = Scale(scale)
    probabilities = [math.exp(logprob) for logprob in logprobs]
    shares = [relevance / 100 for relevance in relevances]
    match scale:
        case Scale.RAW:
            language, image = probabilities, list(relevances)
        case Scale.UNIT:
            language, image = probabilities, shares
        case Scale.GEOMETRIC:
            language = [math.exp(logprob / count) for logprob, count in zip(logprobs, tokens, strict=True)]
            image = shares
        case Scale.RANK:
            language, image = _midranks(logprobs), _midranks(relevances)
        case Scale.ZSCORE:
            language, image = _standardised(logprobs), _standardised(relevances)
    return [image_weight * i + (1 - image_weight) * t for i, t in zip(image, language, strict=True)]


def without_repetitions(
    relevances: Sequence[float], repetitions: Sequence[float], *, repetition_threshold: float | None
) -> list[float]:
    """Return R_I, set to 0 for a sentence that repeats an earlier one of its answer.

    Equation 3 scores each sentence by itself: an object that is named twice would earn its relevance twice.

    Args:
        relevances: R_I of each sentence, 0..100.
        repetitions: the repetition of each: its largest cosine with an earlier sentence of its answer, 0..1.
        repetition_threshold: repetition threshold, 0..1: at or above it R_I is set to 0; None keeps every R_I.

    Example: relevances 30 and 28 with repetitions 0.0 and 0.95, repetition_threshold 0.9 -> 30 and 0
    """
    if repetition_threshold is None:
        return list(relevances)
    return [
        0.0 if repetition >= repetition_threshold else relevance
        for relevance, repetition in zip(relevances, repetitions, strict=True)
    ]


def aggregate(rewards: Sequence[float], how: Aggregate | str) -> float:
    """Return an answer's reward R(y) from those of its sentences; 0 without a sentence."""
    if not rewards:
        return 0.0
    return math.fsum(rewards) if Aggregate(how) is Aggregate.SUM else fmean(rewards)


def _midranks(values: Sequence[float]) -> list[float]:
    """Return the share of the other values that are smaller, ties counted half; 0.5 for a single value.

    Example: 3 1 1 -> 1.0 0.25 0.25
    """
    others = len(values) - 1
    if not others:
        return [0.5]
    return [
        (sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2) / others
        for value in values
    ]


def _standardised(values: Sequence[float]) -> list[float]:
    """Return the distances from the mean in standard deviations; 0 where all are equal."""
    if not values:
        return []
    mean = fmean(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    if deviation < 1e-12:
        return [0.0] * len(values)
    return [(value - mean) / deviation for value in values]
