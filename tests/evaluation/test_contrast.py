"""Two sides compared: intervals, the paired test, seeds as a level, formulas of ratios, effect size and power."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from csrdata.errors import UserError
from csrdata.evaluation.comparison import Side, compare_sides
from csrdata.evaluation.contrast import (
    Formula,
    Measured,
    contrasts,
    corrected,
    images_needed,
    influence,
    with_intervals,
)
from csrdata.evaluation.holm import holm
from csrdata.evaluation.intervals import Numbers, Ratio, figures, percentage
from csrdata.evaluation.protocol import Protocol

PROTOCOL = Protocol("m", "r", 8, 8, "i", "q", None, "p", "16", "greedy", "counted")


def _rate(seed: int, images: int, chance: float) -> Ratio:
    """Return a percentage of 1 to 4 things in each image."""
    rng = np.random.default_rng(seed)
    below = rng.integers(1, 5, images)
    return percentage(rng.binomial(below, chance).tolist(), below.tolist())


def _mean_of_two(values: Numbers) -> Numbers:
    return (values[..., 0] + values[..., 1]) / 2


def test_intervals_are_those_of_the_summary() -> None:
    """A ratio's value and interval are what `intervals.figures` gives for equal seeds."""
    side = {"a": _rate(0, 60, 0.3), "b": _rate(1, 60, 0.7)}
    known = figures(side, None, resamples=300, confidence=95, seed=5)
    for name, found in with_intervals(side, resamples=300, confidence=95, seed=5).items():
        assert found == pytest.approx((known[name].value, known[name].low, known[name].high))


def test_the_test_is_the_exact_one() -> None:
    """The p-value comes near the share of all 2^n swaps that reach the difference, also for a formula."""
    a, b = _rate(3, 8, 0.3), _rate(4, 8, 0.6)
    sides: list[Measured] = [{"rate": one, "mean": Formula((one, one), _mean_of_two)} for one in (a, b)]
    found = contrasts({0: sides[0]}, {0: sides[1]}, resamples=100, confidence=95, seed=0)
    reached = []
    for swap in product((0, 1), repeat=8):
        chosen = np.asarray(swap)
        first = (
            np.where(chosen, b.numerators, a.numerators).sum()
            / np.where(chosen, b.denominators, a.denominators).sum()
        )
        second = (
            np.where(chosen, a.numerators, b.numerators).sum()
            / np.where(chosen, a.denominators, b.denominators).sum()
        )
        reached.append(abs(second - first) >= abs((b.value or 0) - (a.value or 0)) / 100 - 1e-12)
    assert found["rate"].p == pytest.approx(np.mean(reached), abs=0.015)
    assert found["mean"].p == found["rate"].p
    assert found["rate"].difference == pytest.approx((b.value or 0) - (a.value or 0))


def test_equal_sides_do_not_differ() -> None:
    """Without any difference p is 1, the interval is 0, and there is no effect."""
    side = {"rate": _rate(0, 30, 0.5)}
    one = contrasts({0: side}, {0: side}, resamples=100, confidence=95, seed=0)["rate"]
    assert (one.difference, one.low, one.high, one.p, one.effect) == (0.0, 0.0, 0.0, 1.0, None)


def test_the_spread_is_that_of_the_bootstrap() -> None:
    """The standard deviation of an image's share, by the square root of images, is the bootstrap's standard error."""
    a, b = _rate(1, 400, 0.4), _rate(2, 400, 0.5)

    def harmonic(values: Numbers) -> Numbers:
        total: Numbers = 2 * values[..., 0] * values[..., 1] / (values[..., 0] + values[..., 1])
        return total

    sides: list[Measured] = [{"rate": one, "both": Formula((one, b), harmonic)} for one in (a, b)]
    found = contrasts({0: sides[0]}, {0: sides[1]}, resamples=4000, confidence=68.27, seed=0, flips=50)
    for one in found.values():
        assert one.spread is not None
        assert one.low is not None
        assert one.high is not None
        assert one.spread / 400**0.5 == pytest.approx((one.high - one.low) / 2, rel=0.06)
        assert one.difference is not None
        assert one.effect == pytest.approx(one.difference / one.spread)
    assert abs(influence(a).sum()) < 1e-6


def test_power_is_reached_by_simulation() -> None:
    """With the stated number of images, a paired test finds the difference in about 80% of simulated experiments."""
    assert images_needed(50, 2) == 4906
    count = images_needed(10, 2)
    rng = np.random.default_rng(0)
    shares = rng.normal(2, 10, size=(4000, count))
    z = shares.mean(1) / (shares.std(1, ddof=1) / count**0.5)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.02)


def test_seeds_are_a_level() -> None:
    """Where seeds disagree the interval is wider than the images' alone; each seed's difference is shown; values are pooled."""
    base = {seed: {"rate": _rate(9, 200, 0.5)} for seed in (0, 1, 2)}
    other = {seed: {"rate": _rate(10 + seed, 200, 0.3 + 0.2 * seed)} for seed in (0, 1, 2)}
    found = contrasts(base, other, resamples=1000, confidence=95, seed=0, flips=50)["rate"]
    single = contrasts({1: base[1]}, {1: other[1]}, resamples=1000, confidence=95, seed=0, flips=50)["rate"]
    assert None not in (found.low, found.high, single.low, single.high)
    assert (found.high or 0) - (found.low or 0) > 2 * ((single.high or 0) - (single.low or 0))
    assert len(found.by_seed) == 3
    above = sum(other[seed]["rate"].numerators.sum() for seed in other)
    below = sum(other[seed]["rate"].denominators.sum() for seed in other)
    assert found.b == pytest.approx(100 * above / below)
    only_common = contrasts(base, {2: other[2], 7: other[0]}, resamples=50, confidence=95, seed=0, flips=20)[
        "rate"
    ]
    assert len(only_common.by_seed) == 1


def test_a_table_is_corrected_together() -> None:
    """All figures of all splits are one family; what could not be tested stays a member."""
    side = {"rate": _rate(0, 40, 0.5), "none": percentage([0.0] * 40, [0.0] * 40)}
    other = {"rate": _rate(1, 40, 0.6), "none": percentage([0.0] * 40, [0.0] * 40)}
    found = contrasts({0: side}, {0: other}, resamples=50, confidence=95, seed=0)
    assert corrected(found) == holm({name: one.p for name, one in found.items()})
    assert (found["none"].p, found["none"].a) == (None, None)
    sides = [
        Side(name, {split: {0: figures_of} for split in ("x", "y")}, dict.fromkeys(("x", "y"), PROTOCOL))
        for name, figures_of in (("a", side), ("b", other))
    ]
    rows = compare_sides(
        *sides, resamples=50, confidence=95, seed=0, points=2.0, accept_unknown=False, flips=200
    ).rows
    chances = {f"{row.split}/{row.figure}": row.contrast.p for row in rows}
    assert {f"{row.split}/{row.figure}": row.contrast.p_holm for row in rows} == pytest.approx(holm(chances))
    needed = {row.figure: row.images_needed for row in rows}
    assert needed["none"] is None
    assert needed["rate"] == images_needed(found["rate"].spread or 0, 2.0)


def test_sides_that_share_nothing_are_refused() -> None:
    """Other splits, other seeds or another protocol: one line, and no table."""
    side = Side("a", {"x": {0: {"rate": _rate(0, 8, 0.5)}}}, {"x": PROTOCOL})
    options = {
        "resamples": 20,
        "confidence": 95.0,
        "seed": 0,
        "points": None,
        "accept_unknown": True,
        "flips": 20,
    }
    for other, words in (
        (replace(side, figures={"y": side.figures["x"]}), "a common split"),
        (replace(side, figures={"x": {4: side.figures["x"][0]}}), "a common seed"),
        (
            replace(side, protocols={"x": replace(PROTOCOL, images_sha256="other")}),
            "images_sha256: got other",
        ),
    ):
        with pytest.raises(UserError, match=words):
            compare_sides(side, other, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the same images"):
        contrasts(
            {0: {"r": _rate(0, 8, 0.5)}}, {0: {"r": _rate(0, 9, 0.5)}}, resamples=9, confidence=95, seed=0
        )
