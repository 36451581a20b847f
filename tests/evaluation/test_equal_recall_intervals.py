"""Intervals and tests of figures at equal recall, compared with a slow reading of the procedure and with enumeration."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from csrdata.evaluation.equal_recall import Curve, at_match, match
from csrdata.evaluation.equal_recall_intervals import AtRecall, at_recall
from csrdata.evaluation.intervals import Figure, mean, percentage, seed_for
from csrdata.evaluation.scorecard import CURVE_FIGURES
from csrdata.evaluation.summary import BASE

RESAMPLES = 200
BIASES = (-1.0, 0.0, 1.0)
OBJECTS = 4


def _curve(
    biases: Sequence[float],
    named: Sequence[Sequence[int]],
    absent: Sequence[Sequence[int]],
    prefix: str = "i",
) -> Curve:
    """Return the curve of answers about images of 4 objects each: present objects and absent mentions by bias and image."""
    images = tuple(f"{prefix}{index}" for index in range(len(named[0])))
    return Curve(
        tuple(biases),
        images,
        {
            "chair_s": tuple(percentage([one > 0 for one in row], [1] * len(row)) for row in absent),
            "chair_i": tuple(
                percentage(list(false), [wrong + right for wrong, right in zip(false, true, strict=True)])
                for false, true in zip(absent, named, strict=True)
            ),
            "recall": tuple(percentage(list(row), [OBJECTS] * len(row)) for row in named),
            "length": tuple(mean([5.0 * one for one in row]) for row in named),
            "present_per_answer": tuple(mean([float(one) for one in row]) for row in named),
        },
    )


def _random(images: int, *, seed: int, prefix: str) -> tuple[Curve, Curve]:
    """Return a policy's curve, which says less the higher the bias, and a base that names about 2.5 of 4 objects."""
    rng = np.random.default_rng(seed)
    most = rng.integers(2, OBJECTS + 1, images)
    named = [np.maximum(most - cut, 0).tolist() for cut in (0, 1, 2)]
    wrong = rng.integers(0, 3, images)
    absent = [np.maximum(wrong - cut, 0).tolist() for cut in (0, 1, 2)]
    base = _curve(
        (0.0,), [rng.integers(1, OBJECTS + 1, images).tolist()], [rng.integers(0, 3, images).tolist()], prefix
    )
    return _curve(BIASES, named, absent, prefix), base


def _at(
    curves: Mapping[str, Mapping[str, Curve]], *, seed: int = 3, resamples: int = RESAMPLES
) -> dict[str, AtRecall]:
    return at_recall(curves, split="validation", resamples=resamples, confidence=90, seed=seed)


VALIDATION, BASE_VALIDATION = _random(12, seed=1, prefix="v")
HELD_OUT, BASE_HELD_OUT = _random(9, seed=2, prefix="h")
CURVES = {
    BASE: {"validation": BASE_VALIDATION, "held_out": BASE_HELD_OUT},
    "1": {"validation": VALIDATION, "held_out": HELD_OUT},
}


def _draws(split: str, images: int) -> list[list[int]]:
    """Return the images of each draw of a split, each as often as it was drawn."""
    rng = np.random.default_rng([seed_for(3, split), 0])
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return [[image for image, count in enumerate(row) for _ in range(count)] for row in drawn]


def _value(curve: Curve, name: str, point: int, images: Sequence[int]) -> float:
    ratio = curve.ratios[name][point]
    return ratio.scale * sum(ratio.numerators[image] for image in images) / sum(
        ratio.denominators[image] for image in images
    )  # fmt: skip


def _slow_bias(setting: Sequence[int]) -> float | None:
    """Find the bias of one draw, segment by segment."""
    target = _value(BASE_VALIDATION, "recall", 0, setting)
    recalls = [_value(VALIDATION, "recall", point, setting) for point in range(3)]
    found = []
    for point in range(2):
        first, second = recalls[point], recalls[point + 1]
        if min(first, second) <= target <= max(first, second) and first != second:
            found.append(BIASES[point] + (first - target) / (first - second))
    return min(found, key=abs) if found else None


def test_a_draw_repeats_the_whole_procedure() -> None:
    """Bias and CHAIR_S intervals are those of a loop over draws: images of one split, the bias, images of the other."""
    setting, measured = _draws("validation", 12), _draws("held_out", 9)
    biases, held_out, validation = [], [], []
    for one, other in zip(setting, measured, strict=True):
        bias = _slow_bias(one)
        if bias is None:
            continue
        biases.append(bias)
        for split, images, values in ((HELD_OUT, other, held_out), (VALIDATION, one, validation)):
            point = 0 if bias < 0 else 1
            share = bias - BIASES[point]
            values.append(
                (1 - share) * _value(split, "chair_s", point, images)
                + share * _value(split, "chair_s", min(point + 1, 2), images)
            )
    found = _at(CURVES)["1"]
    assert found.outside == RESAMPLES - len(biases)
    assert 0 < found.outside <= 0.05 * RESAMPLES
    assert found.reason is None
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(biases, [0.05, 0.95])))
    for name, values in (("held_out", held_out), ("validation", validation)):
        figure = found.figures[name]["chair_s"]
        assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])))


def test_on_the_setting_split_recall_is_the_bases_in_every_draw() -> None:
    """There the interval of recall at the match is that of the base's recall, as far as draws have a bias."""
    found = _at(CURVES)
    own, base = (found[name].figures["validation"]["recall"] for name in ("1", BASE))
    assert own.value == pytest.approx(base.value)
    recalls = [
        _value(BASE_VALIDATION, "recall", 0, images)
        for images in _draws("validation", 12)
        if _slow_bias(images) is not None
    ]
    assert (own.low, own.high) == pytest.approx(tuple(np.quantile(recalls, [0.05, 0.95])))


def test_the_bias_widens_the_interval() -> None:
    """With a curve that is steep in CHAIR_S, an interval at the fixed bias would be too narrow."""
    images = 40
    rng = np.random.default_rng(0)
    says = rng.random(images) < 0.5
    steep = _curve(
        BIASES,
        [[4] * images, np.where(says, 3, 2).tolist(), [0] * images],
        [[1] * images, says.astype(int).tolist(), [0] * images],
    )
    base = _curve((0.0,), [rng.integers(1, 5, images).tolist()], [[1] * images])
    found = at_recall(
        {BASE: {"validation": base, "held_out": base}, "1": {"validation": steep, "held_out": steep}},
        split="validation",
        resamples=1000,
        confidence=95,
        seed=0,
    )["1"]
    place = match(steep, base.values("recall")[0])
    assert place is not None
    fixed = at_match(steep, place)["chair_s"]
    drawn = fixed.numerators[np.random.default_rng(1).integers(0, images, (1000, images))].mean(1) * 100
    low, high = np.quantile(drawn, [0.025, 0.975])
    figure = found.figures["held_out"]["chair_s"]
    assert figure.low is not None
    assert figure.high is not None
    assert figure.high - figure.low > 1.2 * (high - low)


def test_the_base_has_no_bias_and_its_own_figures() -> None:
    """Its bias is 0 in every draw, its figures are those of its answers, and nothing is tested."""
    base = _at(CURVES)[BASE]
    assert (base.bias, base.low, base.high, base.outside, base.reason) == (0, 0, 0, 0, None)
    for split, curve in CURVES[BASE].items():
        for name in CURVE_FIGURES:
            figure = base.figures[split][name]
            assert (figure.value, figure.p_vs_base) == (curve.values(name)[0], None)


def test_a_policy_like_the_base_is_at_0() -> None:
    """A curve whose point at 0 is the base's answers: no bias, p = 1 for every figure."""
    curves = {
        split: Curve(
            BIASES,
            own.images,
            {
                name: (own.ratios[name][0], CURVES[BASE][split].ratios[name][0], own.ratios[name][2])
                for name in CURVE_FIGURES
            },
        )
        for split, own in CURVES["1"].items()
    }
    found = _at({BASE: CURVES[BASE], "1": curves})["1"]
    assert found.bias == 0
    assert {figure.p_vs_base for split in found.figures.values() for figure in split.values()} == {1.0}


def test_outside_the_curve_everything_is_null_with_the_reason() -> None:
    """A base that names more than the policy ever does: no bias, no figure, no interval; the draws are counted."""
    images = 12
    better = _curve((0.0,), [[4] * images], [[0] * images], "v")
    less = _curve(BIASES, [[3] * images, [2] * images, [1] * images], [[0] * images] * 3, "v")
    found = _at({BASE: {"validation": better}, "1": {"validation": less}})["1"]
    assert (found.bias, found.low, found.high, found.outside) == (None, None, None, RESAMPLES)
    assert found.reason == (
        "the base's recall of 100.0% is outside the curve: 25.0% to 75.0% at biases of -1 to 1 nats"
    )
    assert set(found.figures["validation"].values()) == {Figure(None, None, None, None)}


def test_with_too_many_draws_outside_there_is_a_value_and_no_interval() -> None:
    """The base's recall is near the curve's end: about half of the draws are outside, and the reason says how many."""
    images = 10
    base = _curve((0.0,), [[4, 2] * 5], [[0] * images], "v")
    own = _curve(BIASES, [[3] * images, [2] * images, [1] * images], [[0, 1] * 5] * 3, "v")
    found = _at({BASE: {"validation": base}, "1": {"validation": own}})["1"]
    assert found.bias == -1
    assert (found.low, found.high) == (None, None)
    assert 0.2 * RESAMPLES < found.outside < 0.6 * RESAMPLES
    assert found.reason == (
        f"no interval: {found.outside} of {RESAMPLES} draws have the base's recall outside the curve"
    )
    figure = found.figures["validation"]["chair_s"]
    assert (figure.value, figure.low, figure.high) == (50, None, None)
    assert figure.p_vs_base is not None


def test_p_is_that_of_all_swaps_at_the_fixed_bias() -> None:
    """On 9 images, 20,000 random swaps agree with all 512 swaps of the outcomes at the bias that was found."""
    place = match(VALIDATION, BASE_VALIDATION.values("recall")[0])
    assert place is not None
    own = at_match(HELD_OUT, place)["chair_s"].numerators
    other = BASE_HELD_OUT.ratios["chair_s"][0].numerators
    observed = abs((own - other).sum())
    reached = [
        abs((np.array(signs) * (own - other)).sum()) >= observed - 1e-9
        for signs in itertools.product((1, -1), repeat=9)
    ]
    chance = _at(CURVES)["1"].figures["held_out"]["chair_s"].p_vs_base
    assert chance == pytest.approx(np.mean(reached), abs=0.015)


def test_equal_seeds_give_equal_figures_whoever_else_is_there() -> None:
    """The draws depend on seed and split: no policy's or split's figures depend on the others."""
    whole = _at(CURVES)
    assert _at(CURVES) == whole
    assert _at(CURVES, seed=4) != whole
    again = _at({**CURVES, "2": CURVES["1"]})
    assert again["1"] == again["2"] == whole["1"]
    alone = _at({name: {"validation": own["validation"]} for name, own in CURVES.items()})
    assert alone["1"].figures["validation"] == whole["1"].figures["validation"]


def test_other_images_are_refused() -> None:
    """Figures of two policies pair up only over the same images."""
    other, _ = _random(12, seed=1, prefix="w")
    with pytest.raises(ValueError, match="answers about the same images"):
        _at({BASE: {"validation": BASE_VALIDATION}, "1": {"validation": other}})
