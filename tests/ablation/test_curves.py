"""CHAIR_S at the base's recall from counts: by hand, and equal to what the evaluation of one run gives."""

import random

import numpy as np
import pytest

from csrdata.ablation.comparing import pool
from csrdata.ablation.counts import Counts
from csrdata.ablation.curves import EndCurve, draw_at_recall, ratio_at_recall
from csrdata.evaluation.equal_recall import Curve
from csrdata.evaluation.equal_recall_intervals import at_recall
from csrdata.evaluation.intervals import mean, percentage, seed_for
from csrdata.evaluation.scorecard import CURVE_FIGURES
from tests.ablation.made import counts, curve

SPLITS = {"validation": 60, "held_out": 80}
BIASES = (-2.0, 0.0, 2.0)


def test_the_figure_is_where_the_recalls_meet() -> None:
    """The base names 1 of 2 objects. At 0 the policy names none, at -1 both: halfway, with half the mistakes of -1."""
    policy = curve({-1.0: (1, 1, 0, 0), 0.0: (0, 0, 0, 0)}, {-1.0: 2, 0.0: 0})
    plain = {"held_out": counts((0, 0, 0, 0), named=0)}
    found = ratio_at_recall(policy, plain, counts((1, 1, 1, 1)), "held_out")
    assert found is not None
    assert (found.value, found.numerators.tolist()) == (25.0, [0.5, 0.5, 0.0, 0.0])
    assert ratio_at_recall(policy, plain, counts((1, 1, 1, 1), named=0), "held_out").value == 0.0  # type: ignore[union-attr]


def test_without_a_meeting_there_is_no_figure() -> None:
    """A policy that names less than the base at every bias has none, in no draw either."""
    policy = curve({-1.0: (1, 0), 0.0: (0, 0)}, {-1.0: 0, 0.0: 0})
    plain, base = {"held_out": counts((0, 0), named=0)}, counts((1, 1))
    assert ratio_at_recall(policy, plain, base, "held_out") is None
    above, below = draw_at_recall(policy, plain, base, "held_out", resamples=50, seed=0)
    assert np.isnan(above).all()
    assert np.isnan(below).all()


@pytest.fixture
def random_policy() -> tuple[EndCurve, dict[str, Counts], Counts]:
    """A policy on two splits whose recall and mistakes grow as the bias falls, its plain counts, and the base's."""
    rng = random.Random(7)

    def column(size: int, share: float, most: int) -> tuple[int, ...]:
        return tuple(sum(rng.random() < share for _ in range(most)) for _ in range(size))

    shares = {-2.0: 0.8, 0.0: 0.5, 2.0: 0.2}
    false = {
        split: tuple(column(size, share / 2, 1) for share in shares.values())
        for split, size in SPLITS.items()
    }
    named = tuple(column(SPLITS["validation"], share, 3) for share in shares.values())
    plain = {
        split: Counts(
            (1,) * size, false[split][1], false[split][1], (4,) * size, (1,) * size, (3,) * size, (9,) * size
        )
        for split, size in SPLITS.items()
    }
    size = SPLITS["validation"]
    base = Counts(
        (1,) * size, (1,) * size, (1,) * size, (4,) * size, column(size, 0.6, 3), (3,) * size, (9,) * size
    )
    return EndCurve("validation", BIASES, false, named), plain, base


def test_it_is_the_evaluations_figure(random_policy: tuple[EndCurve, dict[str, Counts], Counts]) -> None:
    """Value and interval of one seed are those of `equal_recall_intervals.at_recall`, which has all answers."""
    policy, plain, base = random_policy
    own = {split: _whole(policy, plain, split) for split in SPLITS}
    of_base = {split: _constant(base, size, split) for split, size in SPLITS.items()}
    wanted = at_recall({"1": own, "base": of_base}, split="validation", resamples=400, confidence=95, seed=3)[
        "1"
    ].figures["held_out"]["chair_s"]
    ratio = ratio_at_recall(policy, plain, base, "held_out")
    assert ratio is not None
    draws = draw_at_recall(policy, plain, base, "held_out", resamples=400, seed=3)
    found = pool(
        {0: {"chair_s": ratio}},
        resamples=400,
        confidence=95,
        seed=seed_for(3, "held_out"),
        draws={0: {"chair_s": draws}},
    )["chair_s"]
    assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert found.low is not None
    assert found.low < found.high  # type: ignore[operator]


def test_the_interval_is_wider_than_at_a_given_bias(
    random_policy: tuple[EndCurve, dict[str, Counts], Counts],
) -> None:
    """The bias is found again in each draw, and that uncertainty is part of the interval."""
    policy, plain, base = random_policy
    ratio = ratio_at_recall(policy, plain, base, "held_out")
    assert ratio is not None
    draws = draw_at_recall(policy, plain, base, "held_out", resamples=2000, seed=0)
    settings = {"resamples": 2000, "confidence": 95.0, "seed": seed_for(0, "held_out")}
    own = {0: {"chair_s": ratio}}
    given = pool(own, **settings)["chair_s"]
    whole = pool(own, **settings, draws={0: {"chair_s": draws}})["chair_s"]
    assert whole.high - whole.low > given.high - given.low  # type: ignore[operator]


def _whole(policy: EndCurve, plain: dict[str, Counts], split: str) -> Curve:
    """Return the curve as the evaluation has it; figures that are not looked at stand still."""
    size = SPLITS[split]
    still = [mean([1] * size)] * len(BIASES)
    chairs = [percentage(false, plain[split].answers) for false in policy.false[split]]
    recalls = [percentage(named, (3,) * SPLITS["validation"]) for named in policy.named]
    recall = recalls if split == "validation" else still
    ratios = dict.fromkeys(CURVE_FIGURES, tuple(still)) | {
        "chair_s": tuple(chairs),
        "recall": tuple(recall),
    }
    return Curve(BIASES, (split,), ratios)


def _constant(base: Counts, size: int, split: str) -> Curve:
    still = mean([1] * size)
    recall = base.ratios()["recall"] if split == "validation" else still
    ratios = dict.fromkeys(CURVE_FIGURES, (still,)) | {"recall": (recall,)}
    return Curve((0.0,), (split,), ratios)
