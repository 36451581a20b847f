"""A numerical check of Theorem 5.1 of arXiv 2405.14622.

`python -m benchmarks.theorem` prints tables and draws docs/theorem.svg.

The theorem says that a policy which leans on the text gains from image relevance: in a linear world, some lambda < 1 gives a
lower regression loss than the language reward alone (lambda = 1). docs/theorem.md has the statement, what had to be
reconstructed, and what the figures mean. All losses are exact, in the limit of infinite data; nothing is sampled.

Here lambda is the weight of *language*, as in the theorem's proof: 1 - lambda weighs the image. Elsewhere in csrdata, and in
equation 4, lambda weighs the image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PICTURE = Path("docs/theorem.svg")
SIZE, RANK = 8, 3
"""Dimensions of image, text and answer (d), and of the signals in image and text (r)."""
ALPHA = 0.1
"""DPO's alpha (equation 1; csrdata's beta)."""
LAMBDAS = (1.0, 0.99, 0.9, 0.7, 0.5, 0.3, 0.1, 0.01)
"""The columns of the first table."""
STEPS = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 81)])
"""Image steps that are searched for the best one: lambda = 1 down to 0.00005."""
GAIN = 1e-9
"""A loss is lower if it is so by this share of the outcome's variance; less is rounding."""


@dataclass(frozen=True, eq=False)
class World:
    """The linear world of section 5: image x_v = U1 z1 + xi1, text x_t = U2 z2 + xi2, outcome z = beta* . y_truth."""

    u1: Array
    """U1, [d, r], orthonormal columns: what of the image the scorer sees."""
    u2: Array
    """U2, [d, r]."""
    image_noise: Array
    """Covariance of xi1, [d, d]."""
    text_noise: Array
    """Covariance of xi2, [d, d]."""
    true_image: Array
    """V1*, [d, d]: y_truth = V1* x_v + V2* x_t."""
    true_text: Array
    """V2*, [d, d]."""
    image: Array
    """V1, [d, d]: the policy's answer has the mean V1 x_v + V2 x_t."""
    text: Array
    """V2, [d, d]."""
    beta: Array
    """beta*, [d]."""
    overlap: float = 0.0
    """Correlation of z1 and z2, 0..1. The proof takes image and text as independent: 0."""
    spread: float = 0.0
    """Variance of each coordinate of an answer around its mean. The theorem's next policy is a point mass: 0."""
    printed_scorer: bool = False
    """Whether R_I is <U1'x_v, U2'y> as section 5 prints it; otherwise <U1'x_v, U1'y> as in the proof."""

    @property
    def inputs(self) -> Array:
        """Covariance of (x_v, x_t), [2d, 2d]."""
        shared = self.overlap * self.u1 @ self.u2.T
        image = self.u1 @ self.u1.T + self.image_noise
        text = self.u2 @ self.u2.T + self.text_noise
        return np.vstack([np.hstack([image, shared]), np.hstack([shared.T, text])])

    @property
    def outcome(self) -> Array:
        """Weights of the outcome on (x_v, x_t), [2d]."""
        return np.concatenate([self.true_image.T @ self.beta, self.true_text.T @ self.beta])

    @property
    def answer(self) -> Array:
        """Weights of the mean answer on (x_v, x_t), [d, 2d]."""
        return np.hstack([self.image, self.text])

    @property
    def target(self) -> Array:
        """What of an answer the scorer sees, [d, r]."""
        return self.u2 if self.printed_scorer else self.u1

    @property
    def pull(self) -> Array:
        """Direction in which relevance moves the answer, by unit of step, [d, 2d]: R_I grows along U U1' x_v."""
        return np.hstack([self.target @ self.u1.T, np.zeros_like(self.text)])


def image_step(weight: float) -> float:
    """Return how far the best answer is from the policy's mean, in units of `World.pull`, for a language weight lambda.

    The best answer maximizes (1 - lambda) R_I(y) - lambda ||y - mean||^2: mean + (1 - lambda) / (2 lambda) * pull. The paper
    prints (1 - lambda) / lambda, which is another lambda for the same answer. At 0 the reward has no maximum.

    Example: 1 -> 0, 0.5 -> 0.5, 0.1 -> 4.5
    """
    return (1 - weight) / (2 * weight)


def language_weight(step: float) -> float:
    """Return the inverse of `image_step`. Example: 0.5 -> 0.5."""
    return 1 / (1 + 2 * step)


def dpo_step(weight: float, *, alpha: float = ALPHA) -> float:
    """Return the step of DPO's own minimizer, 2 / alpha times `image_step`.

    The theorem lets the next policy be a point mass at the best answer. Equation 5 is minimized by another one among the
    Gaussians: with y_w = mean + w fixed and y_l = mean + noise of variance s^2 / 2, a shift of the mean by t w has the logit
    2 alpha t (|w|^2 - w . noise) / s^2. That is a Gaussian of mean m and variance v with 2 m / v = 2 / (alpha t), and the
    logistic loss is least where 2 m = v: at t = 2 / alpha, whatever w, s and x are.
    """
    return 2 / alpha * image_step(weight)


def losses(world: World, steps: Sequence[float] | Array) -> Array:
    """Return min over beta of E[(z - beta . y)^2] after each step, as a share of the variance of z, [steps], 0..1."""
    found = np.asarray(steps, dtype=np.float64)
    # A reader of T y reads as much as one of y. T turns relevance into the first coordinates and takes the step out of them,
    # so that a step of 1e7 stays well-conditioned.
    basis = np.linalg.svd(world.target)[0].T
    turned = np.where(np.arange(SIZE) < RANK, 1 / np.maximum(1.0, found)[:, None], 1.0)[:, :, None] * basis
    answers = turned @ (world.answer + found[:, None, None] * world.pull)
    noise = world.spread * turned @ np.swapaxes(turned, 1, 2)
    covariance = answers @ world.inputs @ np.swapaxes(answers, 1, 2) + noise
    shared = answers @ world.inputs @ world.outcome
    variance = world.outcome @ world.inputs @ world.outcome
    read = np.einsum("sij,sj->si", np.linalg.pinv(covariance, rcond=1e-12, hermitian=True), shared)
    return np.asarray(np.maximum(0.0, 1 - np.einsum("si,si->s", shared, read) / variance))


def slope(world: World) -> float:
    """Return the derivative of `losses` by the step at step 0, without spread: below 0, a little relevance helps.

    With b the best reader of the policy's answers, it is -2 b' pull Cov(x) (outcome - answer' b), by the envelope theorem.
    """
    covariance = world.answer @ world.inputs @ world.answer.T + world.spread * np.eye(len(world.beta))
    reader = (
        np.linalg.pinv(covariance, rcond=1e-12, hermitian=True) @ world.answer @ world.inputs @ world.outcome
    )
    missing = world.outcome - world.answer.T @ reader
    variance = world.outcome @ world.inputs @ world.outcome
    return float(-2 * reader @ world.pull @ world.inputs @ missing / variance)


def far_loss(world: World) -> float:
    """Return the limit of `losses` for lambda -> 0, without spread: below the loss at step 0, much relevance helps.

    A reader then has U1'x_v at no cost, and of the old answer only what does not lie in the direction of relevance.
    """
    aside = np.linalg.svd(world.target)[0][:, RANK:]
    seen = np.vstack([np.hstack([world.u1.T, np.zeros((RANK, SIZE))]), aside.T @ world.answer])
    covariance, shared = seen @ world.inputs @ seen.T, seen @ world.inputs @ world.outcome
    variance = world.outcome @ world.inputs @ world.outcome
    return float(1 - shared @ np.linalg.pinv(covariance, rcond=1e-12, hermitian=True) @ shared / variance)


def lean(world: World) -> tuple[float, float]:
    """Return the theorem's two ratios of |beta*' V' beta*|: V1* over V2*, and V2 over V1.

    The first is how much more the truth depends on the image than on the text, the second how much more the policy depends
    on the text than on the image.
    """

    def size(weights: Array) -> float:
        return float(abs(world.beta @ weights.T @ world.beta))

    with np.errstate(divide="ignore"):
        return (
            float(np.divide(size(world.true_image), size(world.true_text))),
            float(np.divide(size(world.text), size(world.image))),
        )


def plain_world(seed: int = 0) -> World:
    """Return the theorem's case: an image that decides the outcome, a policy that hears the text; small random parts."""
    rng = np.random.default_rng(seed)
    eye = np.eye(SIZE)

    def near(share: float) -> Array:
        return share * (eye + 0.1 * rng.standard_normal((SIZE, SIZE)))

    return World(
        u1=_orthonormal(rng),
        u2=_orthonormal(rng),
        image_noise=0.25 * eye,
        text_noise=0.25 * eye,
        true_image=near(1.0),
        true_text=near(0.1),
        image=near(0.05),
        text=near(1.0),
        beta=np.ones(SIZE) / np.sqrt(SIZE),
    )


def regimes() -> dict[str, World]:
    """Return worlds to try the theorem on: its own case, its variants, and those in which it should break."""
    plain = plain_world()
    both = replace(plain, true_text=plain.text)
    eye = np.eye(SIZE)
    unseen = eye - plain.u1 @ plain.u1.T
    return {
        "text-leaning policy (the theorem)": plain,
        "policy blind to the image (the proof)": replace(plain, image=0 * eye),
        "relevance as printed, with U2": replace(plain, printed_scorer=True),
        "answers with a spread of 0.5": replace(plain, spread=0.5),
        "text decides the outcome": replace(plain, true_image=plain.true_text, true_text=plain.true_image),
        "policy is right already": replace(both, image=both.true_image, text=both.true_text),
        "policy leans on the image": replace(both, image=3 * both.true_image, text=both.true_text),
        "scorer blind to what matters": replace(
            plain, true_image=unseen, true_text=0.1 * eye, image=0 * eye, text=eye
        ),
        "text says what the image shows": replace(
            plain, overlap=1.0, image_noise=0 * eye, text_noise=0 * eye
        ),
        "image counts the other way, weak": replace(
            plain, true_image=-0.3 * eye, true_text=eye, image=0 * eye, text=eye
        ),
        "image counts the other way, strong": replace(
            plain, true_image=-3 * eye, true_text=eye, image=0 * eye, text=eye
        ),
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What relevance does in one world."""

    ratios: tuple[float, float]
    """See `lean`."""
    at: tuple[float, ...]
    """Loss at each of `LAMBDAS`, as a share of the outcome's variance."""
    best: float
    """The lambda of the lowest loss among `STEPS`; 1 if no other is lower by `GAIN`."""
    lowest: float
    slope: float

    @property
    def helps(self) -> bool:
        """Whether some lambda < 1 is better than lambda = 1."""
        return self.best < 1


def judge(world: World) -> Verdict:
    """Return what relevance does in a world whose next policy is the best answer, as in the theorem."""
    found = losses(world, STEPS)
    best = int(found.argmin())
    if not found[0] - found[best] > GAIN:
        best = 0
    return Verdict(
        ratios=lean(world),
        at=tuple(float(loss) for loss in losses(world, [image_step(weight) for weight in LAMBDAS])),
        best=language_weight(float(STEPS[best])),
        lowest=float(found[best]),
        slope=slope(world),
    )


def norms(world: World) -> tuple[float, float]:
    """Return two ratios that mean the same, by norms as in the proof: |V1*'beta*| / |V2*'beta*| and |V2| / |V1|."""
    image, text = (np.linalg.norm(weights.T @ world.beta) for weights in (world.true_image, world.true_text))
    return float(image / text), float(np.linalg.norm(world.text) / np.linalg.norm(world.image))


def random_world(
    rng: np.random.Generator,
    *,
    image_over_text: float,
    text_over_image: float,
    measure: Callable[[World], tuple[float, float]],
) -> World:
    """Return a world with random weights and uneven noise that has two ratios exactly, as `measure` returns them."""

    def weights() -> Array:
        return rng.standard_normal((SIZE, SIZE))

    world = World(
        u1=_orthonormal(rng),
        u2=_orthonormal(rng),
        image_noise=_noise(rng),
        text_noise=_noise(rng),
        true_image=weights(),
        true_text=weights(),
        image=weights(),
        text=weights(),
        beta=rng.standard_normal(SIZE),
    )
    truth, policy = measure(world)
    return replace(
        world,
        true_image=world.true_image * image_over_text / truth,
        text=world.text * text_over_image / policy,
    )


@dataclass(frozen=True, slots=True)
class Share:
    """How often relevance helps in random worlds with the same two ratios; percent of the worlds."""

    helps: float
    """Some lambda < 1 has a lower loss than lambda = 1."""
    little: float
    """A lambda just below 1 has."""
    much: float
    """A lambda just above 0 has."""
    gain: float
    """Median gain at the best lambda, percent of the outcome's variance; 0 where nothing helps."""


def sweep(
    image_over_text: float,
    text_over_image: float,
    *,
    measure: Callable[[World], tuple[float, float]],
    worlds: int,
    seed: int = 0,
) -> Share:
    """Return how often relevance helps in random worlds; see `random_world`."""
    rng = np.random.default_rng(seed)
    gains, little, much = [], [], []
    for _ in range(worlds):
        world = random_world(
            rng, image_over_text=image_over_text, text_over_image=text_over_image, measure=measure
        )
        found = losses(world, STEPS)
        gain = float(found[0] - found.min())
        gains.append(gain if gain > GAIN else 0.0)
        little.append(slope(world) < 0)
        much.append(far_loss(world) < found[0])
    return Share(
        helps=100 * float(np.mean(np.array(gains) > 0)),
        little=100 * float(np.mean(little)),
        much=100 * float(np.mean(much)),
        gain=100 * float(np.median(gains)),
    )


def _orthonormal(rng: np.random.Generator) -> Array:
    return np.asarray(np.linalg.qr(rng.standard_normal((SIZE, RANK)))[0])


def _noise(rng: np.random.Generator) -> Array:
    """Return a covariance with eigenvalues of 0.1 to 1 in random directions: well-conditioned, as the theorem asks."""
    turn = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    return np.asarray(turn * rng.uniform(0.1, 1.0, SIZE) @ turn.T)


def draw(worlds: dict[str, World]) -> str:
    """Return the loss of each world against lambda as an SVG picture."""
    left, top, width, height = 60, 20, 420, 300
    colours = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#D55E00", "#999999", "#000000")
    weights = np.linspace(0.005, 1, 200)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {top + height + 50}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="820" height="{top + height + 50}" fill="white"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + share * width, top + (1 - share) * height
        parts += [
            f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" stroke="#d0d7de"/>',
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{share:g}</text>',
            f'<text x="{x}" y="{top + height + 18}" text-anchor="middle">{share:g}</text>',
        ]
    parts += [
        f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">lambda, the weight of language '
        "(1: language alone)</text>",
        f'<text transform="translate(16 {top + height / 2}) rotate(-90)" text-anchor="middle">loss, share of the '
        "outcome's variance</text>",
    ]
    for number, (name, world) in enumerate(worlds.items()):
        found = losses(world, [image_step(float(weight)) for weight in weights])
        points = " ".join(
            f"{left + weight * width:.1f},{top + (1 - loss) * height:.1f}"
            for weight, loss in zip(weights, found, strict=True)
        )
        colour, dash = colours[number % len(colours)], ' stroke-dasharray="6 4"' * (number >= len(colours))
        line = f'fill="none" stroke="{colour}" stroke-width="2"{dash}'
        y = top + 10 + 22 * number
        parts += [
            f'<polyline points="{points}" {line}/>',
            f'<line x1="{left + width + 30}" x2="{left + width + 60}" y1="{y}" y2="{y}" {line}/>',
            f'<text x="{left + width + 68}" y="{y + 4}">{name}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Print the tables and draw the picture."""
    worlds = regimes()
    _print_worlds(worlds)
    _print_steps(worlds["text-leaning policy (the theorem)"], weight=0.9)
    _print_sweeps(ratios=(1.0, 10.0, 100.0, 1000.0), worlds=400)
    PICTURE.write_text(draw(worlds), encoding="utf-8")
    print(f"\nwritten: {PICTURE}")


def _print_worlds(worlds: dict[str, World]) -> None:
    print("Loss as a share of the outcome's variance, by lambda (1: language alone).")
    print("Ratios: the truth's image / text, the policy's text / image, as the theorem measures them.\n")
    print(
        f"{'world':36s}{'ratios':>14s}" + "".join(f"{weight:>7g}" for weight in LAMBDAS) + "    best  helps"
    )
    for name, world in worlds.items():
        found = judge(world)
        ratios = "/".join(f"{ratio:.3g}" for ratio in found.ratios)
        cells = "".join(f"{loss:7.3f}" for loss in found.at)
        best = f"{found.best:.2g}" if found.best > language_weight(STEPS[-1]) else "-> 0"
        print(f"{name:36s}{ratios:>14s}{cells}{best:>8s}  {'yes' if found.helps else 'no'}")


def _print_steps(world: World, *, weight: float) -> None:
    print(f"\nThe theorem's case at lambda = {weight}: where the next policy is, in units of relevance")
    steps = {
        "the best answer (the theorem)": image_step(weight),
        f"the minimizer of equation 5, alpha {ALPHA:g}": dpo_step(weight),
    }
    for name, step in steps.items():
        print(f"  {name:38s}{step:7.3f}, loss {losses(world, [step])[0]:.3f}")


def _print_sweeps(*, ratios: Sequence[float], worlds: int) -> None:
    print(f"\n{worlds} random worlds: percent in which relevance helps, by the size of both ratios")
    print(
        f"{'ratios':>8s}  {'measured':24s}{'some lambda':>12s}{'near 1':>8s}{'near 0':>8s}{'median gain':>13s}"
    )
    for name, measure in (("|b'Vb|, the theorem", lean), ("norms, the proof", norms)):
        for ratio in ratios:
            found = sweep(ratio, ratio, measure=measure, worlds=worlds)
            print(
                f"{ratio:>8g}  {name:24s}{found.helps:>12.1f}{found.little:>8.1f}{found.much:>8.1f}{found.gain:>13.1f}"
            )


if __name__ == "__main__":
    main()
