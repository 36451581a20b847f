"""What training minimises: a preference loss over pairs, and an anchor on the chosen answers.

For a pair with the answers w (chosen) and l (rejected), r(y) = log pi(y|x) - log ref(y|x) is an answer's log-ratio in nats,
|y| its number of tokens, sigma the logistic function. The losses have TRL's names, and their values are TRL's:

| `loss` | of one pair | source |
|---|---|---|
| `sigmoid` | -log sigma(beta (r(w) - r(l))) | DPO, arXiv 2305.18290, equation 7; CSR's equation 1 |
| `sigmoid_norm` | -log sigma(beta (r(w) / |w| - r(l) / |l|)) | length-normalized DPO: Tulu 3, arXiv 2411.15124, equation 6 |
| `ipo` | (r(w) / |w| - r(l) / |l| - 1 / (2 beta))^2 | IPO, arXiv 2310.12036, equation 17; per token, as in TRL |
| `apo_zero` | 1 - sigma(beta r(w)) + sigma(beta r(l)) | APO, arXiv 2408.06266, equation 7 |
| `hinge` | max(0, 1 - beta (r(w) - r(l))) | SLiC, arXiv 2305.10425, with the normalization of arXiv 2309.06657 |
| `robust` | ((1 - e) L(r(w) - r(l)) - e L(r(l) - r(w))) / (1 - 2 e), L(d) = -log sigma(beta d) | arXiv 2403.00409 |

Here, e is `label_smoothing`. The anchor is TRL's `sft`: the mean negative log-probability of the chosen answers' tokens, in
nats, over all tokens of a batch (RPO, arXiv 2404.19733, equation 1). Pure functions of tensors: no model, no files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csrdata.errors import UserError
from csrdata.policy.sides import BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The settings of the loss; they are keys of `train_dpo`."""

    loss: str
    """A name of the table above."""
    beta: float
    """> 0; larger values keep the policy closer to its reference."""
    dpo_weight: float
    """>= 0: weight of the preference loss. 0 is fine-tuning on the chosen answers: rejected answers are not read."""
    sft_weight: float
    """>= 0: weight of the anchor. One of the two weights is above 0."""
    label_smoothing: float = 0.0
    """0..0.5, for `robust` alone: the share of pairs whose two answers are taken to be swapped."""
    ld_alpha: float | None = None
    """0..1: weight of the tokens of the longer answer beyond the length of the shorter one, in both log-probabilities of the
    preference loss; None, like 1, counts every token (LD-DPO, arXiv 2409.06411)."""
    margin: str = "none"
    """`none`; `weight`: a pair's preference loss is multiplied by its margin; `target`: `margin_scale` times the margin is
    subtracted inside the logistic function of `sigmoid` (ODPO, arXiv 2402.10571; Llama 2, arXiv 2307.09288, equation 2)."""
    margin_scale: float = 1.0
    """> 0, for `target` alone, in nats: the target of a pair with the mean margin. ODPO's alpha."""

    @property
    def sides(self) -> tuple[str, ...]:
        """The answers of a pair that the loss reads: both, or the chosen one alone."""
        return BOTH if self.dpo_weight else BOTH[:1]


@dataclass(frozen=True, slots=True)
class Batch:
    """The log-probabilities of B pairs under the policy, and what belongs to them. Row i and row B + i are pair i."""

    tokens: Tensor
    """Log-probability of each token, nats, [2B, T], or [B, T] without the rejected answers; 0 outside the answers."""
    mask: Tensor
    """1 for the tokens of the answers that are trained on, else 0; same shape."""
    references: tuple[Tensor, Tensor] | None = None
    """`answer_logprobs` of chosen and rejected answers under the reference, each [B]; None without rejected answers."""
    margins: Tensor | None = None
    """`normalized_margins`, [B]; None if the loss uses none."""


def total_loss(batch: Batch, objective: Objective) -> Tensor:
    """Return the loss of a batch, nats, a scalar: `dpo_weight` * mean preference loss + `sft_weight` * anchor."""
    loss = torch.zeros((), device=batch.tokens.device)
    if batch.references is not None:
        loss = loss + _preference(batch, objective).mean() * objective.dpo_weight
    if objective.sft_weight:
        loss = loss + _anchor(batch).mean() * objective.sft_weight
    return loss


def log_ratios(batch: Batch, objective: Objective) -> tuple[Tensor, Tensor]:
    """Return log pi(y|x) - log ref(y|x) of the chosen and the rejected answers, nats, each [B].

    Raises:
        ValueError: the batch has no references.
    """
    if batch.references is None:
        raise ValueError("the batch has no reference log-probabilities")
    policy = answer_logprobs(batch.tokens, batch.mask, ld_alpha=objective.ld_alpha).chunk(2)
    chosen, rejected = (own - other for own, other in zip(policy, batch.references, strict=True))
    return chosen, rejected


def answer_logprobs(tokens: Tensor, mask: Tensor, *, ld_alpha: float | None = None) -> Tensor:
    """Return the log-probability of each answer, nats, [R]: the sum over its tokens.

    Args:
        tokens, mask: see `Batch`, [R, T].
        ld_alpha: see `Objective`; if it is given, R = 2B.

    Example: tokens -1 -1 -1 against -1 with ld_alpha=0.5 -> -2 and -1
    """
    if ld_alpha is None:
        return tokens.sum(dim=1)
    place = mask.cumsum(dim=1)
    shared = torch.minimum(*mask.sum(dim=1).chunk(2)).repeat(2)[:, None]
    within = (place > 0) & (place <= shared)
    return (tokens * within).sum(dim=1) + ld_alpha * (tokens * (place > shared)).sum(dim=1)


def preference_losses(
    ratios: tuple[Tensor, Tensor],
    lengths: tuple[Tensor, Tensor],
    *,
    loss: str,
    beta: float,
    label_smoothing: float = 0.0,
    target: Tensor | float = 0.0,
) -> Tensor:
    """Return the loss of each pair, [B]; see the module's table.

    Args:
        ratios: log-ratios of the chosen and the rejected answers, nats, each [B].
        lengths: their numbers of tokens, each [B].
        loss, beta, label_smoothing: see `Objective`.
        target: subtracted inside the logistic function of `sigmoid`, nats, [B] or a number.

    Raises:
        ValueError: the name of the loss is unknown.

    Example: `sigmoid` with r(w) - r(l) = 0 -> ln 2
    """
    chosen, rejected = ratios
    gap = chosen - rejected
    per_token = chosen / lengths[0] - rejected / lengths[1]
    if loss == "sigmoid":
        return -F.logsigmoid(beta * gap - target)
    if loss == "sigmoid_norm":
        return -F.logsigmoid(beta * per_token)
    if loss == "ipo":
        return (per_token - 1 / (2 * beta)) ** 2
    if loss == "apo_zero":
        return 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)
    if loss == "hinge":
        return torch.relu(1 - beta * gap)
    if loss == "robust":
        right = -(1 - label_smoothing) * F.logsigmoid(beta * gap)
        swapped = -label_smoothing * F.logsigmoid(-beta * gap)
        return (right - swapped) / (1 - 2 * label_smoothing)
    raise ValueError(f"unknown loss {loss}")


def normalized_margins(margins: Sequence[tuple[str, float | None]]) -> list[float]:
    """Return the margins of a set of pairs divided by their mean, so that `margin` changes no loss's mean scale.

    Args:
        margins: place of each pair, for errors, and its margin.

    Raises:
        UserError: a pair has no margin or a negative one, or all margins are 0.

    Example: margins 1 2 3 -> 0.5 1 1.5
    """
    do = "set train_dpo.margin: none in params.yaml, or leave such pairs out, then: dvc repro"
    values = []
    for place, value in margins:
        if value is None or not 0 <= value < math.inf:
            expected = "0 or more, as train_dpo.margin uses it"
            raise UserError(
                f"{place}: margin", got="null" if value is None else value, expected=expected, do=do
            )
        values.append(value)
    mean = math.fsum(values) / len(values)
    if not mean:
        expected = "a pair with one above 0, as train_dpo.margin uses it"
        raise UserError(f"margins of {len(values)} pairs", got="0 for each", expected=expected, do=do)
    return [value / mean for value in values]


def _preference(batch: Batch, objective: Objective) -> Tensor:
    """Return the preference loss of each pair with its weight or target, [B]."""
    chosen, rejected = batch.mask.sum(dim=1).chunk(2)
    margins = 1.0 if batch.margins is None else batch.margins
    losses = preference_losses(
        log_ratios(batch, objective),
        (chosen, rejected),
        loss=objective.loss,
        beta=objective.beta,
        label_smoothing=objective.label_smoothing,
        target=objective.margin_scale * margins if objective.margin == "target" else 0.0,
    )
    return losses * margins if objective.margin == "weight" else losses


def _anchor(batch: Batch) -> Tensor:
    """Return the mean token loss of the chosen answers once per pair, [B], so that its gradient has the bits of TRL's."""
    count = len(batch.tokens) // (1 if batch.references is None else 2)
    return -batch.tokens[:count][batch.mask[:count].bool()].mean().expand(count)
