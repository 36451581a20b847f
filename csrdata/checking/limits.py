"""Tokens of images, prompts and sentences against every limit: the model's positions and the scorer's text limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from csrdata.checking.findings import Finding, error, ok, warning
from csrdata.errors import UserError
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import context_limit, encode
from csrdata.records import Prompt

MARKS = 2
"""Tokens of a scorer's text limit that its start and end marks take."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens of one prompt."""

    prompt_id: str
    image: int
    """Placeholders of the image."""
    whole: int
    """The image included."""


def measure(policy: Policy, prompt: Prompt, image: Any) -> Measured:
    """Return how many tokens a prompt has with its image.

    Raises:
        UserError: the processor does not take the image.
    """
    rendered = policy.prompt(prompt.text)
    try:
        ids = encode(policy.processor, [image], [rendered])["input_ids"][0]
    except Exception as problem:  # noqa: BLE001 - a processor raises whatever an image makes it raise
        raise UserError(
            f"prompt {prompt.prompt_id}: image of {image.width} x {image.height} pixels",
            got=f"{type(problem).__name__}: {problem}",
            expected=f"an image that {type(policy.processor).__name__} takes",
            do="leave such images out (source.exclude), then: csrdata check",
        ) from None
    model: Any = policy.model
    return Measured(prompt.prompt_id, int((ids == model.config.image_token_id).sum()), len(ids))


def check_context(
    policy: Policy, measured: Sequence[Measured], *, max_response_tokens: int, max_new_tokens: int
) -> list[Finding]:
    """Compare prompts and the longest answer with the model's positions.

    Args:
        policy: its config has the limit.
        measured: some prompts, 1 or more.
        max_response_tokens: of `generate_beams`.
        max_new_tokens: of `evaluate_policy`.
    """
    limit = context_limit(policy.model)
    longest = max(measured, key=lambda one: one.whole)
    images = [one.image for one in measured]
    least, most = min(images), max(images)
    counted = f"{least} to {most}" if least < most else f"{most}"
    words = f"{counted} image tokens, up to {longest.whole} tokens in a prompt"
    if limit is None:
        return [warning("context", f"{words}; the model's config states no limit of positions")]
    findings = []
    for key, answer in (
        ("generate_beams.max_response_tokens", max_response_tokens),
        ("evaluate_policy.max_new_tokens", max_new_tokens),
    ):
        over = [one for one in measured if one.whole + answer > limit]
        got = f"params.yaml: {key}: got {answer} with {words}, expected a sum of at most {limit}"
        room = limit - longest.whole
        do = f"set {key} to {room} or less, then: csrdata check" if room > 0 else _smaller()
        full = [one for one in measured if one.whole >= limit]
        if len(full) == len(measured):
            findings.append(error("context", got, do=do))
        elif full:
            lost = f"{len(full)} of {len(measured)} prompts are dropped, such as {full[0].prompt_id}"
            findings.append(warning("context", f"{got}; {lost}", do=do))
        elif over:
            cut = f"an answer to {over[0].prompt_id} is cut at {limit - over[0].whole} tokens"
            findings.append(warning("context", f"{got}; {cut}", do=do))
    whole = longest.whole + max(max_response_tokens, max_new_tokens)
    return findings or [ok("context", f"{words}; {whole} of {limit} positions with the longest answer")]


def check_sentences(
    *, max_sentence_tokens: int, max_response_tokens: int, text_limits: dict[str, int | None]
) -> list[Finding]:
    """Compare the longest sentence with the answer's limit and with the scorers' text limits.

    Args:
        max_sentence_tokens, max_response_tokens: of `generate_beams`.
        text_limits: tokens that a scorer reads, its marks included, by its place in params.yaml; None if not stated.
    """
    findings = []
    key = "params.yaml: generate_beams.max_sentence_tokens"
    if max_sentence_tokens > max_response_tokens:
        words = (
            f"{key}: got {max_sentence_tokens}, expected at most max_response_tokens ({max_response_tokens})"
        )
        findings.append(warning("sentences", words, do=f"set it to {max_response_tokens} or less"))
    for place, limit in text_limits.items():
        if limit is None:
            findings.append(warning("sentences", f"{place} states no limit of a text"))
        elif max_sentence_tokens + MARKS > limit:
            expected = f"expected at most {limit - MARKS} for {place}, which reads {limit} tokens"
            words = f"{key}: got {max_sentence_tokens}, {expected}"
            do = f"set it to {limit - MARKS} or less"
            findings.append(
                warning("sentences", f"{words}; a longer sentence is scored by its beginning", do=do)
            )
    names = ", ".join(f"{limit} of {place}" for place, limit in text_limits.items())
    said = f"at most {max_sentence_tokens} tokens, within the text limits ({names or 'none'})"
    return findings or [ok("sentences", said)]


def _smaller() -> str:
    return "lower prepare.max_pixels if the processor has one, or take a model with a longer context: csrdata check"
