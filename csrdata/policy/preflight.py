"""The checks before training starts: the reference is the policy that wrote the answers, and no row lost a token.

They run on training's own batches, from its collator: 2B rows for B pairs, all chosen answers, then all rejected ones; B
rows where the rejected answers are not used.
With a wrong reference, DPO's loss still starts at ln 2 and still falls. Only the log-probabilities stored at generation show
which policy wrote the answers, and to which prompt.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from csrdata.errors import UserError
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import (
    check_prompt,
    completion_ids,
    completion_text,
    context_limit,
    is_boundary,
    text_ids,
)
from csrdata.policy.shared_images import encode_images
from csrdata.policy.sides import BOTH, place_of, side_of
from csrdata.records import Pair


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """The result of comparing the reference's log-probabilities with those stored at generation."""

    pairs: int
    """Pairs that have stored log-probabilities for both answers; only these are counted."""
    largest_gap: float | None
    """Largest difference for one answer, in nats; None if no answer has a stored log-probability."""


ROUNDING = {torch.float32: 3e-5, torch.bfloat16: 0.15, torch.float16: 0.03}
"""Rounding allowance in nats: answers of T tokens differ by less than this times sqrt(T) between generation and training.

Measured on the CPU between the decoder's shared prefix and TRL's batches, on the trained microworld policy and on random
policies of 2, 8 and 24 layers, for answers of 7 to 275 tokens. Divided by sqrt(T), the differences have a root mean square
of at most 0.030 in bfloat16 and 0.005 in float16; the largest is 0.064 and 0.014. The allowances are 5 and 6 times the
root mean square. In float32, over the 1,994 answers of a trained policy, the root mean square is 1.3e-6, and 99.9% are below
4e-6. Weights 10 times wider than usual initial weights, in 12 or more layers, give up to 6 times more rounding: raise
`reference_tolerance` for such a model."""
SPIKE = {torch.float32: 3e-4}
"""The same for a single answer, where it may be more: terms that cancel at one token can amplify its rounding.

Of those 1,994 answers one differs by 4.8e-5 times sqrt(T), ten times more than any other: half of the difference is between
float32 and float64, all of it at the end of a sentence that breaks off. The allowance is 6 times that."""
MEAN_SHARE = 1 / 3
"""Limit on the mean of difference / allowance over the answers of a set, 0..1. Measured in half types: rounding gives at
most 0.16, weights changed by 3% of their spread 0.47 or more."""


def check_texts(pair: Pair, *, sides: Sequence[str] = BOTH) -> None:
    """Validate that a pair has an instruction and that its sides have words, or are the end of an answer that was begun.

    Raises:
        UserError: naming the prompt, and the side with an empty answer.
    """
    check_prompt(pair.prompt, prompt_id=pair.prompt_id)
    for name in sides:
        side = side_of(pair, name)
        is_end = not side.text and side.complete and bool(pair.context.strip())
        if not side.text.strip() and not is_end:
            expected = "an answer with words in it"
            if pair.context:
                expected = f"a text with words in it, or an empty one where {name}_complete is true"
            raise UserError(f"{place_of(pair)}: {name}", got=side.text, expected=expected, do="dvc repro")


def check_ends(pair: Pair, ends: Sequence[int], *, policy: Policy, sides: Sequence[str] = BOTH) -> None:
    """Refuse a pair with an answer that ended with a token that ends no answer of this policy.

    Raises:
        UserError: naming the prompt and the answer.
    """
    for name in sides:
        end = side_of(pair, name).end
        if end is not None and end not in ends:
            raise UserError(
                f"{place_of(pair)}: {name}_end",
                got=end,
                expected=f"a token that ends an answer of {policy.folder}: {', '.join(map(str, ends))}",
                do="train from the policy that generated these pairs (iterations.*.previous), or: dvc repro",
            )


def check_boundaries(pair: Pair, *, policy: Policy, sides: Sequence[str] = BOTH) -> None:
    """Validate that the context of a pair keeps its tokens when either side follows it, as in generation.

    Raises:
        UserError: a token spans the end of the context and the start of a side, naming the prompt and the side.
    """
    if not pair.context:
        return
    for name in sides:
        side = side_of(pair, name)
        text = completion_text(policy.processor, side.text, end=side.end, complete=side.complete)
        if not is_boundary(policy.processor, pair.context, text):
            raise UserError(
                f"{place_of(pair)}: {name}",
                got="a token that spans the end of the context and the start of the text",
                expected="the tokens of the context, then those of the text, as they are generated",
                do="leave this pair out, or generate again with this tokenizer: dvc repro",
            )


def check_batch(
    batch: Mapping[str, Tensor],
    pairs: Sequence[Pair],
    *,
    policy: Policy,
    model: PreTrainedModel,
    sides: Sequence[str] = BOTH,
    features: Any = None,
) -> None:
    """Validate a collated batch against its B pairs: the number of image tokens, the length, and the tokens of every answer.

    Args:
        batch: `input_ids`, `attention_mask` and `completion_mask` [S * B, L] for S sides, and the model's image inputs.
        pairs: the B pairs, in the batch's order.
        policy: the policy whose processor encoded the batch.
        model: the policy's model, without PEFT's wrapper.
        sides: those in the batch, in its order.
        features: of `encode_images`, if the batch holds each of the B images once; None: it holds an image for each row.

    Raises:
        UserError: the number of image placeholders differs from the number of image features, a row has more tokens than
            the model has positions, or a row does not end with the context's tokens and then, as its completion, those of
            generation.
    """
    placeholders = (batch["input_ids"] == model.config.image_token_id).sum(1).tolist()
    if features is None:
        needed = image_features(model, batch, placeholders=placeholders)
    else:
        needed = dealt(features, placeholders[: len(pairs)]) * len(sides)
    lengths = batch["attention_mask"].sum(1).tolist()
    limit = context_limit(model)
    rows = [
        (f"{place_of(pair)}: {name}", pair.context, side_of(pair, name)) for name in sides for pair in pairs
    ]
    for row, (place, context, side) in enumerate(rows):
        if placeholders[row] != needed[row]:
            raise UserError(
                place,
                got=f"{placeholders[row]} image tokens",
                expected=f"{needed[row]}, one for each image feature",
                do=f"correct the image size and patch size in {policy.folder}'s processor_config.json, then: dvc repro",
            )
        if limit is not None and lengths[row] > limit:
            raise UserError(
                place,
                got=f"{lengths[row]} tokens with prompt and image",
                expected=f"at most the model's {limit} positions",
                do="lower generate_beams.max_response_tokens in params.yaml, then: dvc repro",
            )
        ids = batch["input_ids"][row][batch["completion_mask"][row].bool()].tolist()
        expected_ids = completion_ids(
            policy.processor, side.text, context=context, end=side.end, complete=side.complete
        )
        last = text_ids(policy.processor, context) + expected_ids
        real = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        equal = ids == expected_ids and real[-len(last) :] == last
        if not equal or side.tokens not in {None, len(ids)}:
            wanted = len(expected_ids) if side.tokens is None else side.tokens
            raise UserError(
                place,
                got=f"{len(ids)} tokens of the answer",
                expected=f"the {wanted} tokens that were generated",
                do="generate again with this tokenizer: dvc repro",
            )


def check_references(
    pairs: Sequence[Pair],
    chosen: Sequence[float],
    rejected: Sequence[float],
    *,
    policy: Policy,
    tolerance: float,
) -> ReferenceCheck:
    """Validate the reference's log-probabilities against those stored at generation; skip answers without a stored one.

    Every difference must be at most `tolerance`, or what the number format may round in one answer of that length if more
    (`most_gap`). A wrong reference can be that close on one answer by chance, but not on all of them. So the mean of
    difference / what is usual (`usual_gap`) must also be at most `MEAN_SHARE`.

    Args:
        pairs: N pairs. Stored log-probabilities are in nats, and null if it is not known which policy wrote the answer.
        chosen: the reference's log-probabilities of the chosen answers, [N], in nats, summed over all tokens including the
            end; for a pair with a context, those of what follows it.
        rejected: those of the rejected answers, [N].
        policy: the reference; its dtype decides the allowance, and errors name its folder.
        tolerance: nats, >= 0; the larger of this and the rounding allowance applies.

    Returns:
        How many pairs were checked, and the largest difference.

    Raises:
        UserError: a difference is not a number or too large, or the mean of difference / allowance is.
    """
    dtype: torch.dtype = policy.model.dtype
    name, half = str(dtype).removeprefix("torch."), dtype != torch.float32
    why = "another policy or prompt wrote it" + (f", or {name} rounds more than allowed" if half else "")
    do = "train from the policy that generated these pairs (iterations.*.previous), or: dvc repro"
    if half:
        do += f"; if {name} rounds more, raise train_dpo.reference_tolerance or set compute.dtype: float32"
    gaps: list[float] = []
    shares: list[float] = []
    lengths: list[int] = []
    checked = 0
    for pair, *recomputed in zip(pairs, chosen, rejected, strict=True):
        stored = [side_of(pair, name) for name in BOTH]
        checked += None not in {side.logprob for side in stored}
        for name_of_side, value, side in zip(BOTH, recomputed, stored, strict=True):
            if side.logprob is None:
                continue
            tokens = side.tokens or len(
                completion_ids(policy.processor, side.text, context=pair.context, complete=side.complete)
            )
            gap, allowed = abs(value - side.logprob), most_gap(tokens, dtype=dtype, tolerance=tolerance)
            if not gap <= allowed:  # not `>`: NaN compares false
                within = f"within {allowed:.2g} nats ({tokens} tokens in {name})"
                raise UserError(
                    f"{place_of(pair)}: {name_of_side}: reference log-probability under {policy.folder}",
                    got=f"{value:.6f}, {gap:.2g} nats away",
                    expected=f"{side.logprob:.6f} as stored at generation, {within}: {why}",
                    do=do,
                )
            gaps.append(gap)
            lengths.append(tokens)
            shares.append(gap / usual_gap(tokens, dtype=dtype, tolerance=tolerance))
    if shares and (mean := fmean(shares)) > MEAN_SHARE:
        raise UserError(
            f"{len(gaps)} answers: reference log-probabilities under {policy.folder}",
            got=f"{fmean(gaps):.2g} nats away on average, {mean:.0%} of the rounding allowance",
            expected=f"at most {MEAN_SHARE:.0%} (about {round(fmean(lengths))} tokens in {name}): {why}",
            do=do,
        )
    return ReferenceCheck(checked, max(gaps, default=None))


def usual_gap(tokens: int, *, dtype: torch.dtype, tolerance: float) -> float:
    """Return how far reference log-probabilities usually are from those stored at generation, at most, in nats.

    The rounding errors of tokens are independent, so their sum grows with the square root of the number of tokens.

    Example: 46 tokens and a tolerance of 1e-4 -> 2e-4 in float32, 1.0 in bfloat16, 0.2 in float16
    """
    return max(tolerance, ROUNDING.get(dtype, 0.0) * math.sqrt(tokens))


def most_gap(tokens: int, *, dtype: torch.dtype, tolerance: float) -> float:
    """Return how far the reference log-probability of a single answer may be from the stored one, in nats.

    Example: 46 tokens and a tolerance of 1e-4 -> 2e-3 in float32, as `usual_gap` in half types
    """
    return max(usual_gap(tokens, dtype=dtype, tolerance=tolerance), SPIKE.get(dtype, 0.0) * math.sqrt(tokens))


@torch.inference_mode()
def image_features(model: Any, batch: Mapping[str, Tensor], *, placeholders: Sequence[int]) -> list[int]:
    """Return how many image features the model computes for each row of a batch with one image a row.

    A model may return them for each image, or for each of an image's crops, whose number it does not tell: the crops go to
    the rows in order, as many to each as it has placeholders for.

    Args:
        model: without a wrapper around it.
        batch: R rows.
        placeholders: image tokens of each row, [R].

    Returns:
        A number for each row; those of `placeholders` for a model that puts no features in the place of tokens.
    """
    if not hasattr(model, "get_image_features"):
        return list(placeholders)
    return dealt(encode_images(model, batch), placeholders)


def dealt(features: Any, placeholders: Sequence[int]) -> list[int]:
    """Return how many of the features of `encode_images` belong to each row; see `image_features`."""
    crops = [len(feature) for feature in features.pooler_output]
    return crops if len(crops) == len(placeholders) else _dealt(crops, placeholders)


def _dealt(crops: Sequence[int], placeholders: Sequence[int]) -> list[int]:
    """Deal the features of crops to rows in order, until each row has as many as placeholders; the last gets the rest.

    Example: `_dealt([4, 4, 4], [8, 4])` -> `[8, 4]`; `_dealt([5, 5, 5], [8, 4])` -> `[10, 5]`
    """
    found, rest = [], list(crops)
    for wanted in placeholders[:-1]:
        taken = 0
        while rest and taken < wanted:
            taken += rest.pop(0)
        found.append(taken)
    return [*found, sum(rest)]
