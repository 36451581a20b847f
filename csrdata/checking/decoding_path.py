"""Which path decoding takes on the two prompts, and why: a slow one costs days."""

from collections.abc import Sequence
from typing import Any

from csrdata.checking.findings import Finding, ok, warning
from csrdata.policy.choosing import PathChoice, choose_path
from csrdata.policy.loading import Policy
from csrdata.policy.prompting import encode
from csrdata.records import Prompt

SLOWER = {
    "cached": "image and prompt are encoded once per sentence",
    "plain": "image and prompt are encoded once per token",
}


def decoding_path(
    policy: Policy, prompts: Sequence[Prompt], images: Sequence[Any], *, at_once: int, answer_tokens: int
) -> PathChoice:
    """Return the path that a shard of these prompts takes; see `choose_path`."""
    model: Any = policy.model
    return choose_path(
        policy.model,
        lambda numbers: encode(
            policy.processor,
            [images[number] for number in numbers],
            [policy.prompt(prompts[number].text) for number in numbers],
        ).to(model.device, model.dtype),
        range(len(prompts)),
        at_once=at_once,
        answer_tokens=answer_tokens,
        graphs=True,
    )


def check_path(choice: PathChoice) -> list[Finding]:
    """Return the path in words; a warning if it is not the fastest."""
    if choice.together:
        steps = ", in CUDA graphs" if choice.kind == "graphs" else ""
        return [ok("decoding", f"shared prefix{steps}: {choice.reason}")]
    words = f"the {choice.kind} path, {SLOWER[choice.kind]}: {choice.reason}"
    do = "see the families with a shared prefix in docs/families.md, or lower sample_prompts.prompts"
    return [warning("decoding", words, do=do)]
