"""Keys and values in fixed places: what a CUDA graph has captured is read from the same memory at every replay.

`PromptPool` has one place per prompt in flight; a prompt that has ended gives its place to the next one, and nothing is
copied. `Page` holds 16 tokens of every group of every live answer; pages are added while sentences grow, and stay.

Shapes: P places of prompts, L tokens, N places of answers, G groups, d numbers per attention head.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from csrdata.policy.buckets import PAGE_TOKENS, PROMPT_TOKENS, round_up


class PromptPool:
    """The prompts in flight, each in its own place, padded on the left to one length."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        """One tensor per layer: [P, kv_heads, L, d]."""
        self.values: list[Tensor] = []
        self.hidden: Tensor | None = None
        """To add to attention scores, [P, 1, 1, L]: 0 at a token, -inf elsewhere."""
        self.following: Tensor | None = None
        """The position of the token after each prompt, [P]."""
        self.places: dict[int, int] = {}
        """The place of each prompt, by its number."""

    @property
    def capacity(self) -> int:
        """Number of places, P."""
        return 0 if self.hidden is None else self.hidden.shape[0]

    @property
    def length(self) -> int:
        """Tokens of every place, L."""
        return 0 if self.hidden is None else self.hidden.shape[-1]

    def bytes(self) -> int:
        """Return the memory of keys and values, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])

    def put(self, prompts: Sequence[int], layers: Sequence[Any], mask: Tensor, following: Tensor) -> bool:
        """Store prompts in free places; return whether all places have moved.

        Args:
            prompts: their numbers.
            layers: of a cache, with `keys` and `values` [prompts, kv_heads, l, d]; they are taken out of it, one layer
                after the other.
            mask: [prompts, l], True at a token.
            following: the position of the token after each prompt.
        """
        capacity = max(self.capacity, len(self.places) + len(prompts))
        length = round_up(mask.shape[1], PROMPT_TOKENS)
        if self.places:  # else the length is that of the first prompts, whatever was here before
            length = max(self.length, length)
        moved = (capacity, length) != (self.capacity, self.length)
        taken = set(self.places.values())
        free = [place for place in range(capacity) if place not in taken][: len(prompts)]
        for number, layer in enumerate(layers):
            for stored, name in ((self.keys, "keys"), (self.values, "values")):
                new = getattr(layer, name)
                if number == len(stored):
                    stored.append(new.new_zeros(0, new.shape[1], length, new.shape[3]))
                if moved:
                    stored[number] = _resized(stored[number], capacity, length)
                for index, place in enumerate(free):
                    stored[number][place, :, length - mask.shape[1] :] = new[index]
                setattr(layer, name, None)
        self._describe(free, mask, following, capacity=capacity, length=length, dtype=self.keys[0].dtype)
        self.places |= dict(zip(prompts, free, strict=True))
        return moved

    def _describe(
        self,
        free: Sequence[int],
        mask: Tensor,
        following: Tensor,
        *,
        capacity: int,
        length: int,
        dtype: torch.dtype,
    ) -> None:
        """Write the mask and the position behind each of the new prompts."""
        if self.hidden is None or self.following is None:
            self.hidden = torch.full((0, 1, 1, length), -torch.inf, dtype=dtype, device=mask.device)
            self.following = following[:0]
        if self.hidden.shape[::3] != (capacity, length):
            more = (
                length - self.hidden.shape[-1],
                0,
                0,
                0,
                0,
                0,
                0,
                capacity - self.hidden.shape[0],
            )  # or less
            self.hidden = F.pad(self.hidden, more, value=-torch.inf)
            self.following = F.pad(self.following, (0, capacity - len(self.following)))
        for index, place in enumerate(free):
            self.hidden[place] = -torch.inf
            self.hidden[place, 0, 0, length - mask.shape[1] :].masked_fill_(mask[index], 0)
            self.following[place] = following[index]

    def leave_only(self, prompts: Collection[int]) -> None:
        """Free the places of all other prompts."""
        self.places = {prompt: place for prompt, place in self.places.items() if prompt in prompts}

    def move_into(self, count: int) -> None:
        """Move the prompts into the first `count` places, which must be enough."""
        taken = set(self.places.values())
        free = [place for place in range(count) if place not in taken]
        for prompt, place in self.places.items():
            if place >= count:
                to = free.pop()
                for tensor in (*self.keys, *self.values, self.hidden, self.following):
                    assert tensor is not None  # noqa: S101 - a prompt has a place
                    tensor[to] = tensor[place]
                self.places[prompt] = to


class Page:
    """Keys and values of `PAGE_TOKENS` tokens of every group of every live answer.

    Slot t * groups + g is token t of group g, or any token of an answer so far.
    """

    def __init__(self, like: Sequence[Tensor], *, answers: int, groups: int) -> None:
        """Make an empty page for N `answers`; `like` has a tensor [_, kv_heads, _, d] per layer."""
        slots = PAGE_TOKENS * groups
        # Zeros, as a slot that was never written is masked, and 0 times an uninitialised number can be NaN.
        self.keys = [one.new_zeros(answers, one.shape[1], slots, one.shape[3]) for one in like]
        self.values = [one.new_zeros(answers, one.shape[1], slots, one.shape[3]) for one in like]
        own = torch.eye(groups, dtype=torch.bool, device=like[0].device).repeat(1, PAGE_TOKENS)
        self.sentence = like[0].new_zeros(groups, slots).masked_fill_(~own, -torch.inf)
        """The mask of a page of sentences, [G, slots]: a group sees its own slots."""
        self.hidden = self.sentence.expand(answers, 1, -1, -1).clone()
        """To add to attention scores, [N, 1, G, slots]: 0 or -inf."""

    def bytes(self) -> int:
        """Return the memory of keys and values, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])


def _resized(stored: Tensor, places: int, length: int) -> Tensor:
    """Return a copy of [P, kv_heads, L, d] with more places, and more or less room on the left."""
    before, heads, tokens, size = stored.shape
    resized, same = stored.new_zeros(places, heads, length, size), min(tokens, length)
    resized[:before, :, length - same :] = stored[:, :, tokens - same :]
    return resized
