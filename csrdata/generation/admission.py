"""Which prompts of a shard the policy can take: the others become rows of their own, and the shard goes on without them.

A prompt that cannot be taken is a tree of one row, with `Fate.REFUSED`, the kind of reason as its `stop` and the reason as
its text. `score_beams` passes over it, and `select_pairs` makes it a `Dropped` prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from csrdata.images import BadImage, ImageRoot, load_image
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import context_limit, encode
from csrdata.records import NO_PARENT, Fate, Prompt, Sentence, Stop
from csrdata.text import one_line

MAX_ASPECT = 200
"""The longer side of an image over the shorter one; Qwen2-VL's own limit. A processor that scales the shorter side to 336
pixels makes 9 GB of an image of 20,000 x 3."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A prompt that the policy can take."""

    prompt: Prompt
    image: Image
    rendered: str
    """The model's prompt: chat template applied."""
    tokens: int
    """Of the prompt, the image's included."""
    answer_tokens: int
    """The most tokens of its answer, 1 or more: the model has positions for no more."""


def admit(
    prompts: Sequence[Prompt],
    *,
    root: Path | ImageRoot,
    policy: Policy,
    max_response_tokens: int,
) -> tuple[list[Admitted], list[Sentence]]:
    """Return the prompts that the policy can take, and a row for each of the others, both in their order.

    Args:
        prompts: one image and one instruction each.
        root: the folder that image paths are relative to.
        policy: its processor makes the tokens, its context limits their number.
        max_response_tokens: the most tokens of an answer; fewer where the model's context has room for fewer.

    Raises:
        UserError: an image is missing, or its path leaves the root.
        Exception: the processor's own, if it refuses every prompt: no image is to blame then.
    """
    admitted: list[Admitted] = []
    refused: list[Sentence] = []
    errors: list[Exception] = []
    limit = context_limit(policy.model)
    rendered = {text: policy.prompt(text) for text in dict.fromkeys(prompt.text for prompt in prompts)}
    for prompt in prompts:
        try:
            image = load_image(prompt.image, root=root, place=f"prompt {prompt.prompt_id}")
            _check_aspect(image)
        except BadImage as error:
            refused.append(_row(prompt, Stop.BAD_IMAGE, f"{error.got}, expected {error.expected}"))
            continue
        try:
            tokens = encode(policy.processor, [image], [rendered[prompt.text]])["input_ids"].shape[1]
        except Exception as error:  # noqa: BLE001 - a processor raises whatever an image makes it raise
            errors.append(error)
            reason = f"{image.width} x {image.height} pixels: {type(error).__name__}: {error}"
            refused.append(_row(prompt, Stop.BAD_IMAGE, reason))
            continue
        room = max_response_tokens if limit is None else min(max_response_tokens, limit - tokens)
        if room < 1:
            reason = f"{tokens} tokens with its image, expected fewer than the model's {limit} positions"
            refused.append(_row(prompt, Stop.TOO_LONG, reason))
            continue
        admitted.append(Admitted(prompt, image, rendered[prompt.text], tokens, room))
    if len(errors) == len(prompts) > 1:
        raise errors[0]
    return admitted, refused


def _check_aspect(image: Image) -> None:
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise BadImage(
            "image",
            got=f"{image.width} x {image.height} pixels",
            expected=f"sides that differ by at most {MAX_ASPECT} times",
            do="crop it",
        )


def _row(prompt: Prompt, stop: Stop, reason: str) -> Sentence:
    return Sentence(
        prompt_id=prompt.prompt_id,
        node_id=0,
        parent_id=NO_PARENT,
        depth=1,
        group=0,
        text=one_line(reason, limit=400),
        token_ids=[],
        logprob=0.0,
        relevance=None,
        relevance_truncated=False,
        repetition=None,
        guidance_reward=None,
        stop=stop.value,
        fate=Fate.REFUSED.value,
        canonical=None,
    )
