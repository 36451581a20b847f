"""What must hold before a step of training is worth taking: the reference is right and no row lost a token.

The checks see the batches that training sees, as TRL's collator makes them: rows [chosen; rejected] of B pairs. DPO from a
wrong reference still starts at a loss of ln 2 and still falls, so that the log-probabilities stored at generation are the
only witness of which policy wrote the answers, and to which prompt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from csrdata.errors import UserError
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import check_prompt, completion_ids
from csrdata.records import Pair

_TEXT_INPUTS = {"input_ids", "attention_mask", "completion_mask", "token_type_ids", "mm_token_type_ids"}
_REFERENCES = {"ref_chosen_logps", "ref_rejected_logps"}


def check_texts(pair: Pair) -> None:
    """Refuse a pair without an instruction or with an empty answer.

    Raises:
        UserError: naming the prompt.
    """
    check_prompt(pair.prompt, prompt_id=pair.prompt_id)
    for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        if not text.strip():
            place = f"pair {pair.prompt_id}: {side}"
            raise UserError(place, got=text, expected="an answer with words in it", do="dvc repro")


def check_batch(
    batch: Mapping[str, Tensor], pairs: Sequence[Pair], *, policy: Policy, model: PreTrainedModel
) -> None:
    """Hold a collated batch against its B pairs: image tokens, length, and every token of every answer.

    Args:
        batch: `input_ids`, `attention_mask`, `completion_mask` [2B, L], and the model's image inputs.
        pairs: the B pairs, in the batch's order.
        policy: whose processor made the batch.
        model: the same policy's model, without a wrapper around it.

    Raises:
        UserError: image placeholders and image features differ in number, a row is longer than the model has
            positions, or an answer's tokens are not those of generation.
    """
    needed = image_features(model, batch)
    found = (batch["input_ids"] == model.config.image_token_id).sum(1).tolist()
    lengths = batch["attention_mask"].sum(1).tolist()
    limit = model.config.get_text_config().max_position_embeddings
    for row, (place, answer, tokens) in enumerate(_rows(pairs)):
        if found[row] != needed[row]:
            raise UserError(
                place,
                got=f"{found[row]} image tokens",
                expected=f"{needed[row]}, one for each image feature",
                do=f"mend the image and patch size in {policy.folder}'s processor_config.json, then: dvc repro",
            )
        if lengths[row] > limit:
            raise UserError(
                place,
                got=f"{lengths[row]} tokens with prompt and image",
                expected=f"at most the model's {limit} positions",
                do="lower generate_beams.max_response_tokens in params.yaml, then: dvc repro",
            )
        ids = batch["input_ids"][row][batch["completion_mask"][row].bool()].tolist()
        if ids != completion_ids(policy.processor, answer) or len(ids) != tokens:
            raise UserError(
                place,
                got=f"{len(ids)} tokens of the answer",
                expected=f"the {tokens} tokens that were generated",
                do="generate again with this tokenizer: dvc repro",
            )


def check_references(
    pairs: Sequence[Pair],
    chosen: Sequence[float],
    rejected: Sequence[float],
    *,
    policy: Policy,
    tolerance: float,
) -> float:
    """Hold the reference's log-probabilities against those stored at generation.

    Args:
        pairs: N pairs, with the stored log-probabilities in nats.
        chosen: the reference's, [N], summed over the answer's tokens, the end included.
        rejected: likewise.
        policy: the reference, for the error's words.
        tolerance: nats; 1e-4 holds in float32.

    Returns:
        The largest difference, in nats.

    Raises:
        UserError: a difference exceeds the tolerance, or is not a number.
    """
    largest = 0.0
    for pair, *computed in zip(pairs, chosen, rejected, strict=True):
        stored = (pair.chosen_logprob, pair.rejected_logprob)
        for side, now, then in zip(("chosen", "rejected"), computed, stored, strict=True):
            gap = abs(now - then)
            largest = max(largest, gap)
            if not gap <= tolerance:  # not `>`: NaN compares false
                raise UserError(
                    f"pair {pair.prompt_id}: {side}: reference log-probability under {policy.folder}",
                    got=f"{now:.6f}",
                    expected=f"{then:.6f} as stored at generation, within {tolerance:g}: another policy or prompt wrote it",
                    do="train from the policy that generated these pairs (iterations.*.previous), or: dvc repro",
                )
    return largest


@torch.inference_mode()
def image_features(model: Any, batch: Mapping[str, Tensor]) -> list[int]:
    """Return how many image features the model makes for each row of a batch with one image a row."""
    inputs = {key: value for key, value in batch.items() if key not in _TEXT_INPUTS | _REFERENCES}
    features = model.get_image_features(**inputs, return_dict=True).pooler_output
    return [len(feature) for feature in features]


def _rows(pairs: Sequence[Pair]) -> list[tuple[str, str, int]]:
    """Return the place, text and generated tokens of a batch's rows: all chosen ones, then all rejected ones."""
    chosen = [(f"pair {pair.prompt_id}: chosen", pair.chosen, pair.chosen_tokens) for pair in pairs]
    return chosen + [
        (f"pair {pair.prompt_id}: rejected", pair.rejected, pair.rejected_tokens) for pair in pairs
    ]
