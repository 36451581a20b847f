"""Statistics over seeds and images, derived by hand."""

import pytest

from csrdata.ablation.comparing import added, compare, correct, pool
from csrdata.evaluation.intervals import Ratio, percentage

SETTINGS = {"resamples": 2000, "confidence": 95.0, "seed": 0}


def _figure(*outcomes: int) -> dict[str, Ratio]:
    return {"chair_s": percentage(outcomes, [1] * len(outcomes))}


def test_pooling_is_a_ratio_of_sums() -> None:
    """Two seeds with 1 of 4 and 3 of 4 give 50%; each seed's value stays."""
    found = pool({0: _figure(1, 0, 0, 0), 5: _figure(1, 1, 1, 0)}, **SETTINGS)["chair_s"]
    assert found.value == 50.0
    assert found.seeds == (25.0, 75.0)


def test_seeds_are_a_level_of_their_own() -> None:
    """Seeds without any spread over images: only which seeds are drawn varies, so the interval is theirs.

    Draws of two seeds with 0% and 100%: both the first (1/4) gives 0, both the second (1/4) 100, one each 50. The percentiles 2.5
    and 97.5 are 0 and 100. Over images alone there would be no interval at all, as with one seed.
    """
    none, all_false = _figure(0, 0, 0, 0), _figure(1, 1, 1, 1)
    both = pool({0: none, 1: all_false}, **SETTINGS)["chair_s"]
    assert (both.low, both.value, both.high) == (0.0, 50.0, 100.0)
    one = pool({0: all_false}, **SETTINGS)["chair_s"]
    assert (one.low, one.value, one.high) == (100.0, 100.0, 100.0)


def test_all_seeds_share_the_images_of_a_draw() -> None:
    """Two seeds with equal outcomes have the interval of one: an image that is drawn is drawn for both."""
    outcomes = (1, 0, 0, 1, 0, 0, 0, 1)
    one, two = (
        pool(dict.fromkeys(seeds, _figure(*outcomes)), **SETTINGS)["chair_s"] for seeds in ([0], [0, 1])
    )
    assert (one.low, one.value, one.high) == (two.low, two.value, two.high)


def test_an_image_is_swapped_for_all_seeds_together() -> None:
    """One image, two seeds, both worse: a swap turns the whole difference round, so no swap has a smaller one, and p is 1.

    Swaps by seed would leave a difference of 0 in half of the cases.
    """
    worse, better = {0: _figure(1), 1: _figure(1)}, {0: _figure(0), 1: _figure(0)}
    assert compare({"a": (worse, better)}, seed=0) == {("a", "chair_s"): 1.0}


def test_the_chance_is_the_share_of_swaps() -> None:
    """Four images that all get better: of 16 swaps 2 keep the whole difference, p = 2/16; only common seeds count."""
    worse, better = _figure(1, 1, 1, 1), _figure(0, 0, 0, 0)
    found = compare({"a": ({0: better, 1: worse}, {0: worse}), "b": ({0: better}, {3: worse})}, seed=0)
    assert found[("a", "chair_s")] == pytest.approx(2 / 16, abs=0.01)
    assert set(found) == {("a", "chair_s")}


def test_a_figure_that_one_of_two_lacks_has_no_test() -> None:
    """Only figures of both arms are compared."""
    own = {0: _figure(1, 0) | {"recall": percentage([1, 1], [2, 2])}}
    assert set(compare({"a": (own, {0: _figure(0, 0)})}, seed=0)) == {("a", "chair_s")}
    assert compare({}, seed=0) == {}


def test_a_table_is_corrected_together() -> None:
    """Three tests: 3 * 0.01, then 2 * 0.03, then 0.04, which is not below the one before it; no test, no member."""
    found = correct({("a", "x"): 0.01, ("a", "y"): 0.04, ("b", "x"): 0.03, ("b", "y"): None})
    assert found == {("a", "x"): 0.03, ("a", "y"): 0.06, ("b", "x"): 0.06, ("b", "y"): None}


def test_ratios_add_up_image_by_image() -> None:
    """Numerators and denominators are added, not the figures."""
    total = added([percentage([1, 0], [2, 1]), percentage([1, 1], [1, 3])])
    assert (total.numerators.tolist(), total.denominators.tolist()) == ([2, 1], [3, 4])
    assert total.value == pytest.approx(100 * 3 / 7)
