"""How much of a policy's attention is on the image while it writes an answer (the paper's Figure 6).

One pass over prompt, image and answer gives the attention weights of every layer and head. For each token of the answer,
taken at the position from which the token is predicted, the *share* is the sum of the weights on the image's tokens, 0..1:
a query's weights add up to 1. It is averaged over heads and layers. The image's tokens are those of the image placeholder;
line breaks and separators between parts of an image are text.

Only transformers' own, eager attention gives weights, so the policy is switched to it. One answer is passed at a time: the
weights of a layer take heads * tokens * tokens numbers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from csrdata.errors import UserError
from csrdata.images import ImageRoot
from csrdata.policy.answering import encode_questions, rendered_prompts
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import completion_ids, with_answers
from csrdata.progress import progress as bar_of
from csrdata.records import Answer, Question

OFF = "set measure_attention: null in params.yaml, then: dvc repro"


@torch.inference_mode()
def image_attention(
    policy: Policy,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    *,
    root: Path | ImageRoot,
    title: str = "attention on the image",
    progress: bool = True,
) -> list[list[float]]:
    """Return the share of attention on the image at each token of each answer, 0..1, the end token included.

    The tokens are those of the answer's text, as in training.

    Args:
        policy: its attention is switched to the eager one, and stays so.
        questions: descriptions, or any other questions.
        answers: one for each question, in the same order; of this policy or of another one.
        root: the folder that image paths are relative to.
        title: label of the progress bar.
        progress: show the progress bar.

    Raises:
        UserError: the model gives no attention weights over its own tokens, or its image takes none of them; an image is
            missing or unreadable.
    """
    model = policy.model
    if model._can_set_attn_implementation():  # noqa: SLF001 - no public one
        model.set_attn_implementation("eager")
    prompts = rendered_prompts(policy, questions)
    found = []
    with bar_of(total=len(questions), title=title, unit="answer", disable=not progress) as bar:
        for question, prompt, answer in zip(questions, prompts, answers, strict=True):
            found.append(_shares(policy, question, prompt, answer, root))
            bar.update(1)
    return found


def _shares(
    policy: Policy, question: Question, prompt: str, answer: Answer, root: Path | ImageRoot
) -> list[float]:
    """Return the shares at the tokens of one answer; empty if it has none."""
    ids = completion_ids(policy.processor, answer.text, complete=answer.finished)
    if not ids:
        return []
    inputs = encode_questions(policy, [question], [prompt], root)
    tokens = torch.tensor([ids], device=policy.device)
    image_token = policy.model.config.image_token_id
    extended = with_answers(inputs, tokens, torch.ones_like(tokens), image_token=image_token)
    at_image = extended["input_ids"][0] == image_token
    output = policy.model(**extended, use_cache=False, output_attentions=True, logits_to_keep=1)
    layers = _layers(policy, output.attentions, length=len(at_image))
    if not bool(at_image.any()):
        raise _no_weights(policy, "no token of the image among the prompt's")
    predicts = slice(len(at_image) - len(ids) - 1, len(at_image) - 1)
    # [layers, heads, answer tokens]: what each query gives to the image.
    shares: list[float] = (
        torch.stack([layer[0, :, predicts, at_image].float().sum(-1).mean(0) for layer in layers])
        .mean(0)
        .tolist()
    )
    return shares


def _layers(policy: Policy, attentions: Sequence[Tensor | None] | None, *, length: int) -> list[Tensor]:
    """Return the weights [1, heads, length, length] of the layers that attend to the tokens.

    Layers of other kinds, such as linear attention, have none and are left out.
    """
    found = [layer for layer in attentions or () if layer is not None]
    if not found:
        raise _no_weights(policy, "no attention weights")
    if any(layer.shape[-2:] != (length, length) for layer in found):
        raise _no_weights(policy, "attention weights over other tokens than those of prompt and answer")
    return found


def _no_weights(policy: Policy, got: str) -> UserError:
    return UserError(
        f"{policy.folder}: {type(policy.model).__name__}",
        got=got,
        expected="a model whose answers attend to image tokens in the prompt, and that returns the weights",
        do=OFF,
    )
