"""The loss: every name's value by hand, weights and targets of pairs, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from csrdata.errors import UserError
from csrdata.policy.objective import (
    Batch,
    Objective,
    answer_logprobs,
    normalized_margins,
    preference_losses,
    total_loss,
)

RATIOS = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
"""Log-ratios of the chosen and the rejected answers of two pairs: they differ by 3 and by -1."""
LENGTHS = torch.tensor([4, 1]), torch.tensor([1, 2])
BETA = 0.5


def sigma(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def losses(name: str, **options: float | Tensor) -> list[float]:
    found: list[float] = preference_losses(RATIOS, LENGTHS, loss=name, beta=BETA, **options).tolist()
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # beta * 3 = 1.5 and beta * -1 = -0.5
        ("sigmoid", [math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(0.5))]),
        # 2/4 - (-1)/1 = 1.5 and 0/1 - 1/2 = -0.5 per token, times beta
        ("sigmoid_norm", [math.log(1 + math.exp(-0.75)), math.log(1 + math.exp(0.25))]),
        # the same, minus 1 / (2 * 0.5) = 1, squared
        ("ipo", [0.25, 2.25]),
        # beta r: 1 and -0.5 for the first pair, 0 and 0.5 for the second
        ("apo_zero", [1 - sigma(1) + sigma(-0.5), 1 - 0.5 + sigma(0.5)]),
        ("hinge", [0.0, 1.5]),
    ],
)
def test_each_loss_by_hand(name: str, expected: list[float]) -> None:
    """The loss of each pair is the equation's, worked out by hand."""
    assert losses(name) == pytest.approx(expected, rel=1e-6)


def test_known_numbers() -> None:
    """The values do not come from the formula that they test: equation 1 at 0 is ln 2, at 1.5 it is 0.2014133."""
    zero = torch.zeros(1)
    at_zero = preference_losses((zero, zero), (zero + 1, zero + 1), loss="sigmoid", beta=BETA)
    assert at_zero.item() == pytest.approx(0.6931472)
    assert losses("sigmoid")[0] == pytest.approx(0.2014133)
    # 0.9 * 0.2014133 - 0.1 * 1.7014133 = 0.0111306, divided by 1 - 0.2
    assert losses("robust", label_smoothing=0.1)[0] == pytest.approx(0.0139133, rel=1e-4)


def test_the_target_is_subtracted_in_the_logistic_function() -> None:
    """With a target of 1 a difference of 1.5 counts as 0.5, and of -0.5 as -1.5."""
    expected = [math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(1.5))]
    assert losses("sigmoid", target=1.0) == pytest.approx(expected)
    assert losses("sigmoid", target=torch.tensor([1.0, 0.0]))[1] == losses("sigmoid")[1]


def test_an_unknown_loss_is_refused() -> None:
    """A name outside the table raises."""
    with pytest.raises(ValueError, match="unknown loss simpo"):
        losses("simpo")


def test_tokens_beyond_the_shorter_answer_weigh_ld_alpha() -> None:
    """Of 3 tokens against 1, one is shared: -1 + alpha * (-2 - 4); the shorter answer counts whole."""
    tokens = torch.tensor([[0.0, -1.0, -2.0, -4.0], [0.0, -3.0, 0.0, 0.0]])
    mask = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0]])
    assert answer_logprobs(tokens, mask).tolist() == [-7.0, -3.0]
    assert answer_logprobs(tokens, mask, ld_alpha=0.5).tolist() == [-4.0, -3.0]
    assert answer_logprobs(tokens, mask, ld_alpha=0.0).tolist() == [-1.0, -3.0]
    assert answer_logprobs(tokens, mask, ld_alpha=1.0).tolist() == [-7.0, -3.0]


TOKENS = torch.tensor(
    [
        [-1.0, -1.0, 0.0],  # chosen of pair 0: 2 tokens, r = -2 + 4 = 2
        [0.0, -3.0, -1.0],  # chosen of pair 1: 2 tokens, r = -4 + 4 = 0
        [-1.0, -1.0, -1.0],  # rejected of pair 0: 3 tokens, r = -3 + 2 = -1
        [0.0, 0.0, -2.0],  # rejected of pair 1: 1 token, r = -2 + 3 = 1
    ]
)
MASK = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]])
REFERENCES = torch.tensor([-4.0, -4.0]), torch.tensor([-2.0, -3.0])
FIRST, SECOND = math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(0.5))
"""Equation 1 of the two pairs with beta 0.5."""
ANCHOR = (1 + 1 + 3 + 1) / 4
"""Mean negative log-probability of the four chosen tokens."""


def total(*, margins: list[float] | None = None, **settings: float | str | None) -> float:
    objective = Objective(
        **{"loss": "sigmoid", "beta": BETA, "dpo_weight": 1.0, "sft_weight": 0.0, **settings}
    )
    batch = Batch(TOKENS, MASK, REFERENCES, None if margins is None else torch.tensor(margins))
    return total_loss(batch, objective).item()


def test_the_total_is_weighted() -> None:
    """`dpo_weight` times the mean over pairs plus `sft_weight` times the mean over the chosen answers' tokens."""
    assert total() == pytest.approx((FIRST + SECOND) / 2)
    assert total(sft_weight=3.0) == pytest.approx((FIRST + SECOND) / 2 + 3 * ANCHOR)
    assert total(dpo_weight=0.5, sft_weight=1.0) == pytest.approx((FIRST + SECOND) / 4 + ANCHOR)


def test_margins_weigh_the_preference_loss_alone() -> None:
    """Weights 0.5 and 1.5 multiply the two pairs' losses; the anchor has no weights."""
    weighted = (0.5 * FIRST + 1.5 * SECOND) / 2
    assert total(margins=[0.5, 1.5], margin="weight") == pytest.approx(weighted)
    assert total(margins=[0.5, 1.5], margin="weight", sft_weight=2.0) == pytest.approx(weighted + 2 * ANCHOR)


def test_margins_are_targets_on_their_scale() -> None:
    """With margin_scale 2 and margins 0.5 and 1.5, the targets are 1 and 3: differences of 0.5 and -3.5."""
    expected = (math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(3.5))) / 2
    assert total(margins=[0.5, 1.5], margin="target", margin_scale=2.0) == pytest.approx(expected)


def test_fine_tuning_needs_no_reference() -> None:
    """Without references every row is a chosen answer, and the loss is the anchor."""
    objective = Objective(loss="sigmoid", beta=BETA, dpo_weight=0.0, sft_weight=2.0)
    assert objective.sides == ("chosen",)
    assert total_loss(Batch(TOKENS[:2], MASK[:2]), objective).item() == pytest.approx(2 * ANCHOR)


def test_margins_have_mean_1() -> None:
    """Margins are divided by their mean, in their order; a margin of 0 stays 0."""
    assert normalized_margins([("a", 1.0), ("b", 2.0), ("c", 3.0)]) == [0.5, 1.0, 1.5]
    assert normalized_margins([("a", 0.0), ("b", 4.0)]) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        (
            [1.0, None],
            r"^pair b: margin: got null, expected 0 or more, as train_dpo\.margin uses it\. Next: set",
        ),
        ([1.0, -0.5], r"^pair b: margin: got -0\.5, expected 0 or more"),
        ([math.nan, 1.0], r"^pair a: margin: got nan, expected 0 or more"),
        ([math.inf, 1.0], r"^pair a: margin: got inf, expected 0 or more"),
        ([0.0, 0.0], r"^margins of 2 pairs: got 0 for each, expected a pair with one above 0"),
    ],
)
def test_margins_that_weigh_nothing_are_refused(margins: list[float | None], words: str) -> None:
    """A missing, negative or infinite margin is refused by the pair's name, and margins that are all 0 together."""
    with pytest.raises(UserError, match=words):
        normalized_margins(list(zip(("pair a", "pair b"), margins, strict=True)))
