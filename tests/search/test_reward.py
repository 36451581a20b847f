"""Equation 4 on each scale, against values computed by hand."""

import math

import pytest

from csrdata.search.reward import (
    REWARD_SCALES,
    Aggregate,
    Scale,
    aggregate,
    calibrate,
    without_gaps,
    without_repetitions,
)

HALF = math.log(0.5)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        # one sentence of two tokens: R_T = 0.25, geometric mean 0.5, R_I = 30, lambda = 0.9
        (Scale.RAW, 0.9 * 30 + 0.1 * 0.25),
        (Scale.UNIT, 0.9 * 0.3 + 0.1 * 0.25),
        (Scale.GEOMETRIC, 0.9 * 0.3 + 0.1 * 0.5),
        (Scale.RANK, 0.5),
        (Scale.ZSCORE, 0.0),
        (Scale.SIBLING_RANK, -1.0),
    ],
)
def test_one_sentence(scale: Scale, expected: float) -> None:
    """Each scale's value for a single sentence follows from its definition."""
    (reward,) = calibrate([2 * HALF], [2], [30.0], image_weight=0.9, scale=scale, parents=[-1])
    assert reward == pytest.approx(expected)


def test_rank_counts_ties_half() -> None:
    """Mid-ranks: the highest of three has 1, the two equal lowest ones 0.25 each."""
    rewards = calibrate([HALF, HALF, HALF], [1, 1, 1], [3.0, 1.0, 1.0], image_weight=1.0, scale="rank")
    assert rewards == [1.0, 0.25, 0.25]


def test_zscore_by_hand() -> None:
    """Relevances 10 20 30 standardise to -1.2247 0 1.2247 (population deviation 8.165)."""
    rewards = calibrate([HALF] * 3, [1] * 3, [10.0, 20.0, 30.0], image_weight=1.0, scale="zscore")
    assert rewards == pytest.approx([-1.224745, 0.0, 1.224745], abs=1e-6)


def test_zscore_does_not_reward_empty_words() -> None:
    """Of two equally probable sentences, the longer one has no higher reward: ln R_T is not divided by the tokens."""
    rewards = calibrate([-4.0, -4.0, -5.0], [4, 8, 6], [10.0] * 3, image_weight=0.0, scale="zscore")
    assert rewards == pytest.approx([0.707107, 0.707107, -1.414214], abs=1e-6)


@pytest.mark.parametrize("scale", REWARD_SCALES)
def test_weights_pick_the_component(scale: Scale) -> None:
    """Weight 0 ranks by likelihood alone, weight 1 by relevance alone, whatever the scale."""
    logprobs, tokens, relevances = [-1.0, -2.0, -3.0], [2, 2, 2], [10.0, 20.0, 30.0]
    siblings = [-1, -1, -1]
    by_language = calibrate(logprobs, tokens, relevances, image_weight=0.0, scale=scale, parents=siblings)
    by_image = calibrate(logprobs, tokens, relevances, image_weight=1.0, scale=scale, parents=siblings)
    assert by_language == sorted(by_language, reverse=True)
    assert by_image == sorted(by_image)


def test_mean_log_by_hand() -> None:
    """The mean ln p of a token: a quarter over two tokens is ln 0.5; an eighth over six, half of that; length alone is free."""
    rewards = calibrate(
        [2 * HALF, 3 * HALF, 6 * HALF], [2, 6, 6], [30.0, 0.0, 90.0], image_weight=0.0, scale="mean_log"
    )
    assert rewards == pytest.approx([-0.693147, -0.346574, -0.693147], abs=1e-6)
    geometric = calibrate([2 * HALF, 3 * HALF], [2, 6], [30.0, 0.0], image_weight=0.0, scale="geometric")
    assert rewards[:2] == pytest.approx([math.log(value) for value in geometric])


def test_sums_of_mean_log_and_of_geometric_order_otherwise() -> None:
    """A sure and a doubtful sentence (-0.1, -3) sum to -3.1, two middling ones (-1, -1) to -2; exponentiated, 0.955 and 0.736."""
    paths = [-0.1, -3.0], [-1.0, -1.0]
    logs = [sum(calibrate(path, [1, 1], [0.0, 0.0], image_weight=0.0, scale="mean_log")) for path in paths]
    means = [sum(calibrate(path, [1, 1], [0.0, 0.0], image_weight=0.0, scale="geometric")) for path in paths]
    assert logs == pytest.approx([-3.1, -2.0])
    assert means == pytest.approx([0.954624, 0.735759], abs=1e-6)


def test_mean_log_has_no_image_term() -> None:
    """Every scale but `mean_log` can weigh an image term, and with a weight above 0 it is refused."""
    assert set(Scale) - set(REWARD_SCALES) == {Scale.MEAN_LOG}
    words = "the scale mean_log has no image term: the image weight is 0.9, expected 0"
    with pytest.raises(ValueError, match=words):
        calibrate([HALF], [1], [30.0], image_weight=0.9, scale="mean_log")


def test_sibling_rank_by_hand() -> None:
    """The best of n siblings has -1/n, the worst -1; R_I 3 1 2 continue one beginning, 5 another."""
    parents = [0, 0, 0, 4]
    by_image = calibrate(
        [HALF] * 4, [1] * 4, [3.0, 1.0, 2.0, 5.0], image_weight=1.0, scale="sibling_rank", parents=parents
    )
    assert by_image == [-1 / 3, -1.0, -2 / 3, -1.0]
    # ln R_T per token: -1, -0.5, -2: the longer second sentence is the best, although its R_T is the lowest.
    by_language = calibrate(
        [-1.0, -4.0, -2.0, -9.0],
        [1, 8, 1, 1],
        [0.0] * 4,
        image_weight=0.0,
        scale="sibling_rank",
        parents=parents,
    )
    assert by_language == [-2 / 3, -1 / 3, -1.0, -1.0]


def test_equal_siblings_keep_their_order() -> None:
    """Of equal values, the earlier sentence has the better rank, as in a stable sort."""
    rewards = calibrate(
        [HALF] * 3, [1] * 3, [2.0, 7.0, 2.0], image_weight=1.0, scale="sibling_rank", parents=[-1] * 3
    )
    assert rewards == [-2 / 3, -1 / 3, -1.0]


def test_sibling_rank_needs_parents() -> None:
    """Without parents, there are no siblings to rank."""
    with pytest.raises(ValueError, match="the scale sibling_rank needs the parent of each sentence"):
        calibrate([HALF], [1], [30.0], image_weight=0.9, scale="sibling_rank")


def test_aggregates() -> None:
    """The sum grows with the answer's length, the mean does not; the instruction counts once more; no sentence gives 0."""
    assert aggregate([1.0, 2.0, 3.0], Aggregate.SUM) == 6.0
    assert aggregate([1.0, 2.0, 3.0], Aggregate.MEAN) == 2.0
    assert aggregate([1.0, 2.0, 3.0], Aggregate.MEAN_PLUS_ONE) == 1.5
    assert [aggregate([], how) for how in Aggregate] == [0.0, 0.0, 0.0]


def test_a_silent_scorer_counts_neither_way() -> None:
    """The docstring's example: a sentence without a value has the mean of the others; without any value, 0."""
    assert without_gaps([30.0, None, 10.0]) == [30.0, 20.0, 10.0]
    assert without_gaps([None, None]) == [0.0, 0.0]
    assert without_gaps([]) == []


def test_own_relevances_example() -> None:
    """The docstring's example: at or above the threshold R_I is 0; without a threshold every R_I is kept."""
    assert without_repetitions([30.0, 28.0], [0.0, 0.95], repetition_threshold=0.9) == [30.0, 0.0]
    assert without_repetitions([30.0, 28.0], [0.0, 0.95], repetition_threshold=None) == [30.0, 28.0]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_components_must_be_finite(wrong: float) -> None:
    """A log-probability or relevance that is not finite raises."""
    with pytest.raises(
        ValueError, match=r"sentence 1: the relevance is -?(nan|inf), expected a finite number"
    ):
        calibrate([HALF, HALF], [1, 1], [30.0, wrong], image_weight=0.9, scale=Scale.RANK)
    with pytest.raises(ValueError, match=r"sentence 0: the log-probability is -?(nan|inf)"):
        calibrate([wrong, HALF], [1, 1], [30.0, 30.0], image_weight=0.9, scale=Scale.ZSCORE)
