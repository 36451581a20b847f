"""Figures at equal recall: curves of a few images, whose crossings and figures are worked out by hand."""

import numpy as np
import pytest

from csrdata.errors import UserError
from csrdata.evaluation.equal_recall import (
    Curve,
    at_match,
    bias_grid,
    biased_curves,
    crossings,
    describing,
    match,
    plain_curves,
    why_outside,
)
from csrdata.evaluation.intervals import Ratio, mean, percentage
from csrdata.evaluation.scorecard import CURVE_FIGURES, Known
from csrdata.records import Answer, BiasedAnswer, Kind, Question, Truth
from tests.evaluation.scenes import CIRCLE, HEART, READER, RING, STAR, TRUTH, text

BIASES = (-1.0, 0.0, 1.0)

# Two images, each with a circle and a star. What is said about them at each bias, and what follows from it:
#
# | bias | image 0              | image 1      | recall | CHAIR_S | CHAIR_I | present | words |
# | -1   | circle, star, heart  | circle, star | 4 of 4 | 1 of 2  | 1 of 5  | 2       |
# |  0   | circle, heart        | circle       | 2 of 4 | 1 of 2  | 1 of 3  | 1       |
# |  1   | circle               | nothing      | 1 of 4 | 0 of 2  | 0 of 1  | 0.5     |
SAID = {
    -1.0: (text(CIRCLE, STAR, HEART), text(CIRCLE, STAR)),
    0.0: (text(CIRCLE, HEART), CIRCLE),
    1.0: (CIRCLE, ""),
}
IMAGES = (TRUTH.image, "images/1.png")
KNOWN = {
    "held_out": Known(
        {image: Truth(image, "held_out", TRUTH.objects, TRUTH.detail) for image in IMAGES}, READER
    )
}
QUESTIONS = [
    Question(f"q{index}", "held_out", Kind.DESCRIBE, image, "Describe it.", None, None)
    for index, image in enumerate(IMAGES)
]


def _answers(said: dict[float, tuple[str, str]]) -> list[BiasedAnswer]:
    return [
        BiasedAnswer(f"q{index}", bias, words, 1, True)
        for bias, texts in said.items()
        for index, words in enumerate(texts)
    ]


def _measured() -> Curve:
    return biased_curves(QUESTIONS, _answers(SAID), KNOWN, made_by="again")["held_out"]


def _line(recalls: list[float], *, biases: tuple[float, ...] = BIASES) -> Curve:
    """Return a curve over one image with these recalls; every other figure is 0."""
    none = tuple(percentage([0], [1]) for _ in biases)
    own = tuple(percentage([recall], [100]) for recall in recalls)
    return Curve(biases, ("a",), {name: own if name == "recall" else none for name in CURVE_FIGURES})


def test_the_figures_of_each_bias_are_those_of_its_answers() -> None:
    """Recall 100, 50, 25; CHAIR_S 50, 50, 0; CHAIR_I 1/5, 1/3, 0; present objects 2, 1, 1/2."""
    curve = _measured()
    assert curve.biases == BIASES
    assert curve.images == IMAGES
    assert curve.values("recall") == [100, 50, 25]
    assert curve.values("chair_s") == [50, 50, 0]
    assert curve.values("chair_i") == pytest.approx([20, 100 / 3, 0])
    assert curve.values("present_per_answer") == [2, 1, 0.5]
    words = [sum(len(words.split()) for words in SAID[bias]) / 2 for bias in BIASES]
    assert curve.values("length") == words


def test_between_two_biases_the_second_is_drawn_with_the_share_of_the_way() -> None:
    """Recall 80 is 2/5 of the way from 100 (bias -1) to 50 (bias 0): bias -0.6; there CHAIR_I is a ratio of mixed sums."""
    curve = _measured()
    place = match(curve, 80)
    assert place is not None
    assert (place.below, place.bias, place.share) == (0, pytest.approx(-0.6), pytest.approx(0.4))
    found = {name: ratio.value for name, ratio in at_match(curve, place).items()}
    assert found["recall"] == pytest.approx(80)
    assert found["chair_s"] == pytest.approx(50)
    assert found["present_per_answer"] == pytest.approx(0.6 * 2 + 0.4 * 1)
    # Absent mentions: one at both biases. Mentions: 0.6 * 5 + 0.4 * 3.
    assert found["chair_i"] == pytest.approx(100 * 1 / 4.2)
    third = match(curve, 30)
    assert third is not None
    assert third.bias == pytest.approx(0.8)
    assert at_match(curve, third)["chair_s"].value == pytest.approx(0.2 * 50)


def test_at_a_point_the_figures_are_the_points() -> None:
    """A recall that a point has is met there, at the ends of the curve too."""
    curve = _measured()
    for point, recall in enumerate((100, 50, 25)):
        place = match(curve, recall)
        assert place is not None
        assert place.bias == BIASES[point]
        for name, ratio in at_match(curve, place).items():
            assert ratio.value == curve.values(name)[point]


@pytest.mark.parametrize("recall", [100.001, 24.999])
def test_outside_the_curve_there_is_no_bias(recall: float) -> None:
    """A recall above the highest or below the lowest point is met nowhere, and the reason has the curve's ends."""
    curve = _measured()
    assert match(curve, recall) is None
    assert why_outside(curve, recall) == (
        f"the base's recall of {recall:.1f}% is outside the curve: 25.0% to 100.0% at biases of -1 to 1 nats"
    )


def test_without_objects_there_is_no_recall() -> None:
    """Images without objects have no recall, the base's neither."""
    curve = _line([0, 0, 0])
    empty = tuple(percentage([0], [0]) for _ in BIASES)
    curve = Curve(BIASES, ("a",), {**curve.ratios, "recall": empty})
    assert match(curve, None) is None
    assert match(curve, 50) is None
    assert why_outside(curve, None) == "there is no recall: the images have no objects"


@pytest.mark.parametrize(
    ("recalls", "target", "bias"),
    [
        ([90, 50, 10], 50, 0.0),
        # A flat stretch: its point nearest to 0.
        ([80, 80, 60], 80, 0.0),
        ([80, 60, 60], 60, 0.0),
        ([80, 80, 80], 80, 0.0),
        # Not monotone: 0.75 is nearer than -6/7, -0.25 nearer than 1/3; -0.5 and 0.5 are equally near.
        ([55, 20, 60], 50, 0.75),
        ([90, 50, 80], 60, pytest.approx(-0.25)),
        ([60, 40, 60], 50, -0.5),
        ([20, 60, 20], 70, None),
    ],
)
def test_of_several_places_the_one_nearest_to_no_bias_counts(
    recalls: list[float], target: float, bias: float | None
) -> None:
    """Where a curve is flat or comes back, the bias nearest to 0 is taken, of two equally near the lower one."""
    place = match(_line(recalls), target)
    assert (None if place is None else place.bias) == bias


def test_a_flat_stretch_away_from_0_is_met_at_its_near_end() -> None:
    """Biases -3 to -1 have the recall: -1 is the nearest; in a stretch across 0 it is 0 itself."""
    far = match(_line([80, 80, 60], biases=(-3.0, -1.0, 0.0)), 80)
    across = match(_line([80, 80, 60], biases=(-1.0, 2.0, 3.0)), 80)
    assert far is not None
    assert across is not None
    assert (far.bias, across.bias) == (-1.0, pytest.approx(0.0))


def test_a_curve_of_one_point_has_its_own_recall_alone() -> None:
    """The base's curve is its point at 0: it meets its own recall, whatever the order of summation, and no other."""
    curve = _line([50], biases=(0.0,))
    place = match(curve, 50 + 1e-12)
    assert place is not None
    assert (place.bias, place.share) == (0.0, 0.0)
    assert at_match(curve, place)["recall"].value == 50
    assert match(curve, 50.1) is None


def test_many_curves_at_once_are_each_by_itself() -> None:
    """Rows of recalls with a target each give what one row gives; a missing recall or target is met nowhere."""
    recalls = np.array([[90.0, 50.0, 10.0], [90.0, 50.0, 10.0], [90.0, np.nan, 10.0], [90.0, 50.0, 10.0]])
    below, share = crossings(BIASES, recalls, np.array([70.0, 95.0, 50.0, np.nan]))
    assert below[0] == 0
    assert share[0] == 0.5
    assert np.isnan(share[1:]).all()


def test_several_answers_about_an_image_are_one_row() -> None:
    """The unit is the image: two descriptions of one are added up."""
    again = [*QUESTIONS, Question("q2", "held_out", Kind.DESCRIBE, IMAGES[0], "Again.", None, None)]
    answers = [*_answers({0.0: SAID[0.0]}), BiasedAnswer("q2", 0.0, text(STAR, RING, RING), 1, True)]
    curve = biased_curves(again, answers, KNOWN, made_by="again")["held_out"]
    assert curve.images == IMAGES
    (absent,) = curve.ratios["chair_i"]
    assert (absent.numerators.tolist(), absent.denominators.tolist()) == ([3, 0], [5, 1])


def test_a_missing_answer_is_named() -> None:
    """Each question has an answer at each bias that occurs."""
    with pytest.raises(UserError) as caught:
        biased_curves(QUESTIONS, _answers(SAID)[:-1], KNOWN, made_by="dvc repro match_recall@1")
    assert str(caught.value) == (
        "question q1: got no answer at a bias of 1, expected one at each bias. Next: dvc repro match_recall@1"
    )


def test_curves_are_about_descriptions_with_a_truth() -> None:
    """Yes/no questions and splits without truth have no part in it; answers to them are ignored."""
    others = [
        Question("y0", "held_out", Kind.YES_NO, IMAGES[0], "Is there?", "yes", None),
        Question("u0", "unknown", Kind.DESCRIBE, "images/9.png", "Describe it.", None, None),
    ]
    asked = describing([*others, *QUESTIONS], KNOWN)
    assert asked == QUESTIONS
    answers = [Answer(name, CIRCLE, 1, True, None, None, None) for name in ("q0", "q1", "y0", "u0")]
    (curve,) = plain_curves(asked, answers, KNOWN, made_by="again").values()
    assert (curve.biases, curve.values("recall")) == ((0.0,), [50])


def test_a_mixture_keeps_its_images() -> None:
    """Each image is mixed by itself, so that two policies still pair up image by image."""
    ratios = (mean([1.0, 3.0]), mean([2.0, 7.0]))
    curve = Curve(
        (0.0, 1.0), ("a", "b"), {"length": ratios, "recall": (Ratio(*_pair(60)), Ratio(*_pair(20)))}
    )
    place = match(curve, 30)
    assert place is not None
    assert at_match(curve, place)["length"].numerators.tolist() == [1.75, 6.0]


def _pair(recall: float) -> tuple[np.ndarray, np.ndarray, float]:
    return np.array([recall, recall]), np.array([100.0, 100.0]), 100.0


def test_the_grid_has_0_and_both_ends() -> None:
    """Multiples of the step, from low to high; 0 is exactly 0, without a sign."""
    found = bias_grid(low=-0.3, high=0.2, step=0.1)
    assert found == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2])
    assert str(found[3]) == "0.0"
    assert bias_grid(low=-4, high=4, step=0.5)[::8] == [-4, 0, 4]
    assert bias_grid(low=0, high=0, step=1) == [0]
