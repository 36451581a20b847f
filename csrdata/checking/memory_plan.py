"""The memory that a search needs on a device, and the most prompts in flight that fit.

A plan is computed from the model's shape and the lengths of prompts and answers alone; nothing is measured. Its parts, in
bytes:

| part | what | grows with |
|---|---|---|
| weights | the policy's and the scorer's | |
| reserve | 5% of an accelerator, for its context and for gaps between blocks of memory | |
| prompts | keys and values of the prompts, once per prompt | prompts in flight |
| answers | keys and values of the live answers and of the sentences that continue them | prompts in flight |
| logits | of all rows, in the model's numbers and in float32 | prompts in flight |
| activations | of encoding all prompts together | prompts in flight |
| workspace | attention scores of one layer, on an accelerator | prompts in flight |

Decoding with static shapes (`csrdata.policy.static_passes`) rounds lengths up and copies one layer at a time. The other
paths copy the keys and values of prompts and of answers as a whole when some of them end, so that both count twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from csrdata.checking.estimate import Shape
from csrdata.policy.buckets import PAGE_TOKENS, PROMPT_TOKENS, pages, round_up

RESERVE = 0.05
"""Share of an accelerator's memory that a plan leaves free (ours; not measured on a GPU)."""
_FLOAT = 4
"""Bytes of a float32."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes of a search, and of the device that it runs on."""

    available: int
    """Of the device."""
    fixed: Mapping[str, int]
    """The parts that do not depend on the prompts in flight."""
    each: Mapping[str, int]
    """The other parts, for one prompt in flight."""

    @property
    def fits(self) -> int:
        """The most prompts in flight that fit, 0 or more."""
        left = self.available - sum(self.fixed.values())
        return max(0, left // max(1, sum(self.each.values())))

    def parts(self, at_once: int) -> dict[str, int]:
        """Return all parts for `at_once` prompts in flight."""
        return {**self.fixed, **{name: at_once * size for name, size in self.each.items()}}

    def needs(self, at_once: int) -> int:
        """Return the bytes for `at_once` prompts in flight."""
        return sum(self.parts(at_once).values())


def plan_search(
    shape: Shape,
    *,
    available: int,
    prompt_tokens: int,
    keep: int,
    candidates: int,
    answer_tokens: int,
    sentence_tokens: int,
    scorer_bytes: int = 0,
    accelerator: bool,
    graphs: bool,
) -> MemoryPlan:
    """Return the memory plan of a search.

    Args:
        shape: the policy's.
        available: bytes of the device.
        prompt_tokens: of the longest prompt, the image's included.
        keep: live answers of a prompt.
        candidates: of a live answer.
        answer_tokens: of the longest answer.
        sentence_tokens: of the longest sentence.
        scorer_bytes: weights of the search's scorer.
        accelerator: whether the device is one.
        graphs: whether the step has static shapes.
    """
    rows = keep * candidates
    before = max(0, answer_tokens - sentence_tokens)
    slots = before + candidates * sentence_tokens
    per_token = (4 * shape.hidden + 3 * shape.intermediate) * shape.bytes_per_number
    copies = 1
    if graphs:
        copies = 3  # in a fixed place, as the model gives them, and for the choice of tokens
        prompt_slots = round_up(prompt_tokens, PROMPT_TOKENS)
        slots = own_slots(before, sentence_tokens, candidates)
        prompts = prompt_slots * shape.cache
        answers = keep * slots * shape.cache
        answers += answers // shape.layers  # a copy of one layer, while answers move
    else:
        prompt_slots = prompt_tokens
        prompts = 2 * prompt_tokens * shape.cache
        answers = keep * (slots + before) * shape.cache
    each = {
        "prompts": prompts,
        "answers": answers,
        "logits": rows * shape.vocabulary * (copies * shape.bytes_per_number + 3 * _FLOAT),
        "activations": prompt_tokens * per_token,
    }
    fixed = {"weights": shape.weights + scorer_bytes}
    if accelerator:
        fixed["reserve"] = int(RESERVE * available)
        scores = rows * shape.heads * (prompt_slots + slots)
        each["workspace"] = scores * (3 * shape.bytes_per_number + _FLOAT)
    return MemoryPlan(available, fixed, each)


def own_slots(before: int, sentence_tokens: int, groups: int) -> int:
    """Return the slots of one live answer with static shapes: whole pages, and one token that is fed again.

    Args:
        before: tokens of the answer before its last sentence.
        sentence_tokens: of the sentences that continue it.
        groups: sentences that continue it.
    """
    page = PAGE_TOKENS * groups
    return page * (pages(before, groups) + pages((sentence_tokens + 1) * groups, groups))
