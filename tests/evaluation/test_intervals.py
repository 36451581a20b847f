"""Intervals and tests, compared with formulas if there are any, and otherwise with enumeration."""

import itertools

import numpy as np
import pytest

from csrdata.evaluation.intervals import Figure, Ratio, figures, mean, percentage, ratio


def _one(own: Ratio, base: Ratio | None = None, *, resamples: int = 2000, seed: int = 0) -> Figure:
    others = None if base is None else {"x": base}
    return figures({"x": own}, others, resamples=resamples, confidence=95, seed=seed, flips=resamples)["x"]


def test_interval_of_a_mean_is_that_of_the_formula() -> None:
    """For 400 images the percentile interval of a mean is about 1.96 standard errors on each side."""
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = _one(mean(values.tolist()))
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.02)


def test_intervals_cover_the_truth() -> None:
    """Over 200 samples of a known ratio of sums, about 95% of the intervals contain it."""
    rng = np.random.default_rng(2)
    covered = 0
    for sample in range(200):
        below = rng.integers(1, 6, 150)
        above = rng.binomial(below, 0.3)
        found = _one(percentage(above.tolist(), below.tolist()), resamples=400, seed=sample)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 30 <= found.high
    assert 180 <= covered <= 199


def test_the_unit_is_the_image() -> None:
    """Ten equal sentences of one image are no more evidence than one: the interval does not shrink."""
    hits = [0, 1] * 50
    single = _one(percentage(hits, [1] * 100))
    tenfold = _one(percentage([10 * hit for hit in hits], [10] * 100))
    assert (single.low, single.high) == (tenfold.low, tenfold.high)


def test_p_is_that_of_all_swaps() -> None:
    """For 8 images the paired test agrees with enumerating all 256 swaps of their outcomes."""
    own, base = (
        ratio([1, 0, 2, 1, 0, 1, 0, 0], [3, 2, 4, 2, 1, 2, 3, 1]),
        ratio([2, 1, 2, 2, 1, 1, 1, 0], [3, 2, 3, 2, 2, 1, 3, 2]),
    )

    def difference(swaps: tuple[bool, ...]) -> float:
        flip = np.asarray(swaps)
        mine = (
            np.where(flip, base.numerators, own.numerators),
            np.where(flip, base.denominators, own.denominators),
        )
        other = (
            np.where(flip, own.numerators, base.numerators),
            np.where(flip, own.denominators, base.denominators),
        )
        return float(mine[0].sum() / mine[1].sum() - other[0].sum() / other[1].sum())

    observed = abs(difference((False,) * 8))
    exact = np.mean(
        [abs(difference(swaps)) >= observed - 1e-12 for swaps in itertools.product([False, True], repeat=8)]
    )
    found = _one(own, base, resamples=20_000)
    assert found.p_vs_base == pytest.approx(exact, abs=0.015)


def test_p_under_no_change_is_uniform() -> None:
    """If nothing changed, p is below 0.05 in about 5% of cases and not more."""
    rng = np.random.default_rng(3)
    found = []
    for sample in range(300):
        own, base = (rng.binomial(1, 0.4, 60).tolist() for _ in range(2))
        p = _one(percentage(own, [1] * 60), percentage(base, [1] * 60), resamples=200, seed=sample).p_vs_base
        assert p is not None
        found.append(p < 0.05)
    assert np.mean(found) <= 0.08


def test_p_is_never_zero_and_at_most_one() -> None:
    """A change in every image gives the smallest p of n swaps, 1 / (1 + n); no change gives 1."""
    every, none = percentage([1] * 50, [1] * 50), percentage([0] * 50, [1] * 50)
    assert _one(every, none, resamples=999).p_vs_base == 1 / 1000
    assert _one(none, none, resamples=999).p_vs_base == 1


def test_a_test_takes_20_000_swaps_whatever_the_resamples() -> None:
    """A change in all of 30 images gives the smallest p, 1 / 20,001, with 100 resamples of the interval."""
    every, none = percentage([1] * 30, [1] * 30), percentage([0] * 30, [1] * 30)
    found = figures({"x": every}, {"x": none}, resamples=100, confidence=95, seed=0)
    assert found["x"].p_vs_base == 1 / 20_001


def test_what_does_not_exist_is_none() -> None:
    """A ratio with a denominator of 0 has no value, no interval and no p; the base has no p."""
    empty = percentage([0, 0], [0, 0])
    assert _one(empty, mean([1, 2])) == Figure(None, None, None, None)
    assert _one(mean([1, 2])).p_vs_base is None


def test_equal_seeds_give_equal_figures() -> None:
    """The figures depend on the seed, and not on the memory that a chunk may take."""
    own, base = mean([1, 5, 2, 4, 9, 3]), mean([2, 6, 1, 4, 8, 8])
    first = _one(own, base, seed=5)
    assert first == _one(own, base, seed=5)
    assert first != _one(own, base, seed=6)


def test_chunks_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampling in pieces that fit in memory gives the same numbers as in one."""
    own, base = mean([1, 5, 2, 4, 9, 3]), mean([2, 6, 1, 4, 8, 8])
    whole = _one(own, base, resamples=500)
    monkeypatch.setattr("csrdata.evaluation.intervals._CELLS", 60)
    assert _one(own, base, resamples=500) == whole
