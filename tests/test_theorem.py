"""The check of Theorem 5.1: its losses are those of a simulation, and it says where the theorem holds and where it breaks."""

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.theorem import (
    ALPHA,
    RANK,
    SIZE,
    World,
    dpo_step,
    draw,
    far_loss,
    image_step,
    judge,
    language_weight,
    lean,
    losses,
    norms,
    plain_world,
    random_world,
    regimes,
    slope,
    sweep,
)
from tests.imports import ROOT

EYE = np.eye(SIZE)


def simulated(world: World, step: float, *, samples: int = 200_000) -> float:
    """The same loss from samples: draw images, texts, truths and answers, and fit the reader by least squares."""
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, samples, RANK))
    signal = world.overlap * one + np.sqrt(1 - world.overlap**2) * other
    image = one @ world.u1.T + rng.multivariate_normal(np.zeros(SIZE), world.image_noise, samples)
    text = signal @ world.u2.T + rng.multivariate_normal(np.zeros(SIZE), world.text_noise, samples)
    outcome = (image @ world.true_image.T + text @ world.true_text.T) @ world.beta
    answer = image @ world.image.T + text @ world.text.T + step * image @ world.u1 @ world.target.T
    answer += np.sqrt(world.spread) * rng.standard_normal(answer.shape)
    reader = np.linalg.lstsq(answer, outcome, rcond=None)[0]
    return float(np.mean((outcome - answer @ reader) ** 2) / np.mean(outcome**2))


@pytest.mark.parametrize(
    "world",
    [
        plain_world(),
        replace(plain_world(), printed_scorer=True, spread=0.5, overlap=0.7),
    ],
    ids=["the theorem", "printed, with spread and overlap"],
)
@pytest.mark.parametrize("step", [0.0, 0.5, 4.5])
def test_losses_are_those_of_a_simulation(world: World, step: float) -> None:
    """The exact loss is that of 200,000 samples with a fitted reader."""
    assert losses(world, [step])[0] == pytest.approx(simulated(world, step), abs=0.01)


def test_a_world_by_hand() -> None:
    """The answer is c z1 + z2 in each signal's place and the outcome z1: the share left open is 1 / (1 + c^2)."""
    first = EYE[:, :RANK]
    world = World(
        u1=first, u2=first, image_noise=0 * EYE, text_noise=0 * EYE, true_image=EYE, true_text=0 * EYE,
        image=0 * EYE, text=EYE, beta=EYE[0],
    )  # fmt: skip
    assert losses(world, [0.0, 0.5, 3.0]).tolist() == pytest.approx([1.0, 0.8, 0.1])
    assert far_loss(world) == pytest.approx(0.0)


def test_the_step_is_that_of_the_best_answer() -> None:
    """No other answer has a higher reward than mean + step * pull; the step and lambda are inverse."""
    rng = np.random.default_rng(0)
    world, image, mean = plain_world(), rng.standard_normal(SIZE), rng.standard_normal(SIZE)
    weight = 0.3
    pull = world.u1 @ world.u1.T @ image

    def reward(answer: np.ndarray) -> float:
        return float((1 - weight) * pull @ answer - weight * ((answer - mean) ** 2).sum())

    best = mean + image_step(weight) * pull
    for _ in range(100):
        assert reward(best) > reward(best + 0.01 * rng.standard_normal(SIZE))
    assert language_weight(image_step(weight)) == pytest.approx(weight)


@pytest.mark.parametrize("size", [0.2, 1.0])
def test_dpo_goes_further_than_the_best_answer(size: float) -> None:
    """The logistic loss over y_l = mean + noise is least at 2 / alpha times the way to y_w, whatever the length of the way."""
    variance = 0.7  # s^2, so that the noise along the way has variance s^2 / 2
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    gap = (size**2 - size * np.sqrt(variance / 2) * nodes) * 2 * ALPHA / variance

    def loss(way: float) -> float:
        return float(weights @ np.logaddexp(0, -way * gap))

    found = 2 / ALPHA
    assert dpo_step(0.5) == found * image_step(0.5)
    assert loss(found) < min(loss(0.99 * found), loss(1.01 * found))


@pytest.mark.parametrize("seed", range(5))
def test_slope_and_limit_are_those_of_the_losses(seed: int) -> None:
    """The slope is the difference over a tiny step; the limit is the loss after a huge one."""
    rng = np.random.default_rng(seed)
    world = random_world(rng, image_over_text=3.0, text_over_image=3.0, measure=lean)
    near, after, far = losses(world, [0.0, 1e-6, 1e7])
    assert slope(world) == pytest.approx((after - near) / 1e-6, rel=1e-2, abs=1e-5)
    assert far_loss(world) == pytest.approx(far, abs=1e-4)


def test_random_worlds_have_their_ratios() -> None:
    """Exactly, by either measure."""
    rng = np.random.default_rng(0)
    for measure in (lean, norms):
        world = random_world(rng, image_over_text=7.0, text_over_image=20.0, measure=measure)
        assert measure(world) == pytest.approx((7.0, 20.0))


def test_the_stronger_the_assumption_the_more_often_it_helps() -> None:
    """Among random worlds, relevance helps more often where the theorem's ratios are larger, though not always."""
    weak, strong = (sweep(ratio, ratio, measure=lean, worlds=60) for ratio in (0.1, 100.0))
    assert weak.helps < strong.helps
    assert strong.gain > weak.gain
    assert strong.little < strong.helps


def test_the_page_says_what_the_check_finds() -> None:
    """docs/theorem.md has a row for each world, with its best lambda and whether relevance helps; the picture has a line."""
    page = (ROOT / "docs/theorem.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \|(?:[^|\n]*\|)+ (yes|no) \|$", page, flags=re.MULTILINE))
    worlds = regimes()
    assert rows == {name: "yes" if judge(world).helps else "no" for name, world in worlds.items()}
    picture = (ROOT / "docs/theorem.svg").read_text(encoding="utf-8")
    assert re.findall(r"<text[^>]*>([^<]*)</text>", picture) == re.findall(
        r"<text[^>]*>([^<]*)</text>", draw(worlds)
    )
