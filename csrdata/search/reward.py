"""Rewards: equation 4 on a selectable scale, and its aggregate over an answer (arXiv 2405.14622, section 3.2).

A sentence has two raw components: R_T, its probability (equation 2), stored as `logprob` and `token_ids`; and R_I, its
relevance to the image, 0..100 (equation 3). Equation 4 as printed adds a number of up to 100 to one below 1, so the language
term has almost no effect. The *scale* makes the two comparable. Tables store the raw components; this module computes every
reward from them.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from statistics import fmean


class Scale(StrEnum):
    """The transformation of R_I and R_T that makes them comparable before they are weighted."""

    RAW = "raw"
    """Equation 4 as printed: R_I in 0..100 and R_T in 0..1."""
    UNIT = "unit"
    """R_I / 100 and R_T, both in 0..1."""
    GEOMETRIC = "geometric"
    """R_I / 100 and the geometric mean of the token probabilities, which does not approach 0 with length; both in 0..1."""
    MEAN_LOG = "mean_log"
    """The mean ln p of a sentence's tokens, in nats, <= 0: the logarithm of what `geometric` has. The authors' released code
    guides by its sum along the path. There is no image term: R_I in 0..100 and nats without a lower bound have no common
    unit, so the image weight must be 0."""
    RANK = "rank"
    """The mid-rank of each component among the given sentences, 0 (lowest) to 1 (highest)."""
    ZSCORE = "zscore"
    """R_I and ln R_T, each standardised over the given sentences. ln R_T is not divided by the number of tokens: that would
    reward additional predictable words ("I can see a ..."), and a policy soon learns to start every sentence with them."""
    SIBLING_RANK = "sibling_rank"
    """The authors' released code: minus the rank of each component among the sentences that continue the same beginning,
    divided by their number. The best of n siblings has -1/n, the worst -1. The language component is ln R_T divided by the
    number of tokens, as in the beam scores that the released code reads. Equal values keep the order of the sentences."""


REWARD_SCALES = tuple(scale for scale in Scale if scale is not Scale.MEAN_LOG)
"""The scales on which R_I and R_T can be weighted; `mean_log` is for guidance by likelihood alone."""


class Aggregate(StrEnum):
    """How the rewards of sentences are combined into the reward of an answer."""

    SUM = "sum"
    """The paper's choice. With positive rewards it favours long answers."""
    MEAN = "mean"
    MEAN_PLUS_ONE = "mean_plus_one"
    """The sum divided by the number of sentences plus one: the authors' released code counts the instruction, too. With the
    negative rewards of `sibling_rank` it favours short answers."""


def calibrate(
    logprobs: Sequence[float],
    tokens: Sequence[int],
    relevances: Sequence[float],
    *,
    image_weight: float,
    scale: Scale | str,
    parents: Sequence[int] | None = None,
) -> list[float]:
    """Return the calibrated rewards of N sentences that are compared with each other (equation 4).

    R(s) = image_weight * R_I(s) + (1 - image_weight) * R_T(s), with both components on `scale`.

    Args:
        logprobs: the log-probability of each sentence, [N], nats, <= 0: the sum over its tokens.
        tokens: the number of tokens of each sentence, [N], 1 or more.
        relevances: R_I of each sentence, [N], 0..100.
        image_weight: lambda, 0..1; 0 uses the likelihood alone, 1 the relevance alone.
        scale: a `Scale`. `rank` and `zscore` are relative to the given sentences: those of one depth during the search,
            those of a prompt's tree in scoring; `sibling_rank` is relative to those with the same parent. The other scales
            treat each sentence alone.
        parents: the sentence that each sentence continues, [N], by any number; only `sibling_rank` needs it.

    Raises:
        ValueError: a log-probability or a relevance is not finite, `sibling_rank` has no parents, or `mean_log` has an image
            weight above 0.

    Example: one sentence of probability 0.5 and relevance 30, image_weight 0.9 -> raw 27.05, unit 0.32
    """
    _check_finite("log-probability", logprobs)
    _check_finite("relevance", relevances)
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
        case Scale.MEAN_LOG:
            if image_weight:
                raise ValueError(
                    f"the scale mean_log has no image term: the image weight is {image_weight}, expected 0"
                )
            language = [logprob / count for logprob, count in zip(logprobs, tokens, strict=True)]
            image = [0.0] * len(language)
        case Scale.RANK:
            language, image = _midranks(logprobs), _midranks(relevances)
        case Scale.ZSCORE:
            language, image = _standardised(logprobs), _standardised(relevances)
        case Scale.SIBLING_RANK:
            if parents is None:
                raise ValueError("the scale sibling_rank needs the parent of each sentence")
            per_token = [logprob / count for logprob, count in zip(logprobs, tokens, strict=True)]
            language, image = _sibling_ranks(per_token, parents), _sibling_ranks(relevances, parents)
    return [image_weight * i + (1 - image_weight) * t for i, t in zip(image, language, strict=True)]


def without_repetitions(
    relevances: Sequence[float], repetitions: Sequence[float], *, repetition_threshold: float | None
) -> list[float]:
    """Return R_I of each sentence, set to 0 if the sentence repeats an earlier one of its answer.

    Equation 3 scores each sentence alone, so an answer that names an object twice would be rewarded for it twice.

    Args:
        relevances: R_I of each sentence, 0..100.
        repetitions: the largest cosine similarity of each sentence to an earlier one of its answer, 0..1.
        repetition_threshold: repetition at or above this value, 0..1, sets R_I to 0; None keeps every R_I.

    Example: relevances 30 and 28 with repetitions 0.0 and 0.95, repetition_threshold 0.9 -> 30 and 0
    """
    if repetition_threshold is None:
        return list(relevances)
    return [
        0.0 if repetition >= repetition_threshold else relevance
        for relevance, repetition in zip(relevances, repetitions, strict=True)
    ]


def without_gaps(relevances: Sequence[float | None]) -> list[float]:
    """Return R_I of each sentence; where a scorer says nothing of a sentence, the mean of the others.

    The others are the sentences that it is compared with. It then counts neither for nor against its answer. If the scorer
    says nothing of any of them, each has 0.

    Example: 30 None 10 -> 30 20 10
    """
    known = [relevance for relevance in relevances if relevance is not None]
    mean = fmean(known) if known else 0.0
    return [mean if relevance is None else relevance for relevance in relevances]


def aggregate(rewards: Sequence[float], how: Aggregate | str) -> float:
    """Return an answer's reward R(y): its sentences' rewards, combined; 0 for no sentence.

    Example: rewards 1 2 3 -> sum 6, mean 2, mean_plus_one 1.5
    """
    if not rewards:
        return 0.0
    match Aggregate(how):
        case Aggregate.SUM:
            return math.fsum(rewards)
        case Aggregate.MEAN:
            return fmean(rewards)
        case Aggregate.MEAN_PLUS_ONE:
            return math.fsum(rewards) / (len(rewards) + 1)


def _check_finite(name: str, values: Sequence[float]) -> None:
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"sentence {index}: the {name} is {value}, expected a finite number")


def _midranks(values: Sequence[float]) -> list[float]:
    """Return for each value the share of the other values that are smaller; ties count half, a single value gives 0.5.

    Example: 3 1 1 -> 1.0 0.25 0.25
    """
    others = len(values) - 1
    if not others:
        return [0.5]
    return [
        (sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2) / others
        for value in values
    ]


def _sibling_ranks(values: Sequence[float], parents: Sequence[int]) -> list[float]:
    """Return for each value minus its rank among the values with the same parent, divided by their number.

    The highest value has rank 1; of equal values, the earlier one has the better rank.

    Example: 3 1 2 of one parent and 5 of another -> -1/3 -1 -2/3 and -1
    """
    families: dict[int, list[int]] = {}
    for index, parent in enumerate(parents):
        families.setdefault(parent, []).append(index)
    ranks = [0.0] * len(values)
    for siblings in families.values():
        best_first = sorted(siblings, key=lambda index: -values[index])
        for rank, index in enumerate(best_first, start=1):
            ranks[index] = -rank / len(siblings)
    return ranks


def _standardised(values: Sequence[float]) -> list[float]:
    """Return each value's distance from the mean in population standard deviations; 0 if all values are equal."""
    if not values:
        return []
    mean = fmean(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    if deviation < 1e-12:
        return [0.0] * len(values)
    return [(value - mean) / deviation for value in values]
