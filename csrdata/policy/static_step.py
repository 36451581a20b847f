"""One step of decoding with static shapes: shared-prefix attention in which every tensor has a fixed size and place.

What `csrdata.policy.shared_attention` does with as many rows and slots as there are, a static step does for a few sizes
(`csrdata.policy.buckets`). Answers and rows stand in a grid: place p of a prompt has W places of answers, each with G
rows. What a place does not use is masked, and what its rows compute is never read.

Shapes: R rows that are fed, P prompts, W answers of a prompt, N = P * W answers, G groups, L tokens of a prompt, S slots of
an answer, d numbers per attention head. share = heads / kv_heads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from csrdata.policy.static_cache import Page, PromptPool


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a step is computed for: steps of equal sizes run the same operators."""

    prompts: int
    width: int
    """Answers of a prompt, W."""
    groups: int
    rows: int
    past_pages: int
    """Pages of the answers so far."""
    pages: int
    """All pages, up to the one that the step writes to."""

    @property
    def answers(self) -> int:
        """Places of answers, N."""
        return self.prompts * self.width

    @property
    def slots(self) -> int:
        """Places of rows: each has its own slot of a token."""
        return self.answers * self.groups


class Places:
    """What a step reads from the host's side: small tensors in fixed places, as large as the largest step needs."""

    def __init__(self, *, answers: int, groups: int, vocabulary: int, like: Tensor) -> None:
        device, most = like.device, answers * groups

        def whole(count: int) -> Tensor:
            return torch.zeros(count, dtype=torch.long, device=device)

        self.answers, self.groups = answers, groups
        self.tokens = whole(most)
        """Of each row."""
        self.slot_of_row, self.row_of_slot = whole(most), whole(most)
        self.start = whole(answers)
        """The position of each answer's last token; one before its first for an empty answer."""
        self.count, self.in_page = whole(1), whole(1)
        """The number of the token that is fed, from 0: the answer's last one; and its number within the last page."""
        self.seen = torch.ones(most, 1, 1, 1, dtype=torch.bool, device=device)
        """A mask in the final form, so that transformers makes none."""
        self.logits = torch.zeros(most, vocabulary, dtype=like.dtype, device=device)

    def arrange(self, rows: Sequence[tuple[int, int]], sizes: Sizes) -> None:
        """Set which answer and group each row is of; `rows` has at most `sizes.rows` entries."""
        slots = [answer * sizes.groups + group for answer, group in rows]
        own = torch.zeros(sizes.rows, dtype=torch.long)  # rows that are not there read slot 0
        own[: len(slots)] = torch.tensor(slots, dtype=torch.long)
        source = torch.zeros(sizes.slots, dtype=torch.long)  # slots that are not there repeat row 0
        source[own[: len(slots)]] = torch.arange(len(slots))
        self.slot_of_row[: sizes.rows] = own.to(self.tokens.device)
        self.row_of_slot[: sizes.slots] = source.to(self.tokens.device)


class StaticStep:
    """One token of each row: the counterpart of `shared_attention.DecodingStep`."""

    def __init__(self, pool: PromptPool, pages: Sequence[Page], places: Places, sizes: Sizes) -> None:
        self.pool, self.pages, self.places, self.sizes = pool, pages[: sizes.pages], places, sizes

    def begin(self) -> Tensor:
        """Prepare the step; return the tokens' positions [R]."""
        sizes, places = self.sizes, self.places
        self.slots, self.source = places.slot_of_row[: sizes.rows], places.row_of_slot[: sizes.slots]
        first = places.in_page * sizes.groups
        self.write = first + torch.arange(sizes.groups, device=first.device)
        *before, last = [page.hidden[: sizes.answers] for page in self.pages]
        ahead = torch.arange(last.shape[-1], device=first.device) >= first + sizes.groups
        self.hidden = torch.cat([*before, last.masked_fill(ahead, -torch.inf)], -1)
        return places.start[self.slots // sizes.groups] + places.count

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        *,
        window: int | None = None,
    ) -> Tensor:
        """Attend from one new token of each row, as `DecodingStep.attend` does; returns [R, heads, d].

        Raises:
            NotImplementedError: the layer has a sliding window.
        """
        if window is not None:
            raise NotImplementedError("a layer with a sliding window")
        rows, heads, size = query.shape
        kv_heads = key.shape[1]
        share = heads // kv_heads
        queries = self._spread((query * scaling).view(rows, kv_heads, share, size))
        self._store(layer, self._spread(key[:, :, None]), self._spread(value[:, :, None]))
        answers, prompts = self.sizes.answers, self.sizes.prompts
        hidden = self.hidden.repeat_interleave(share, 2) if share > 1 else self.hidden
        own = torch.cat([queries @ page.keys[layer][:answers].transpose(-1, -2) for page in self.pages], -1)
        shared = self._by_prompt(queries) @ self.pool.keys[layer][:prompts].transpose(-1, -2)
        assert self.pool.hidden is not None  # noqa: S101 - prompts have been admitted
        shared = self._by_answer(shared + self.pool.hidden[:prompts])
        length = shared.shape[-1]
        scores = torch.cat([shared, own + hidden], -1)
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        output = self._by_answer(self._by_prompt(weights[..., :length]) @ self.pool.values[layer][:prompts])
        for page, part in zip(
            self.pages, torch.split(weights[..., length:], self._page_slots, -1), strict=True
        ):
            output = output + part @ page.values[layer][:answers]
        return self._collect(output, share)

    @property
    def _page_slots(self) -> int:
        return self.pages[0].hidden.shape[-1]

    def _store(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Write the new token of each group, [N, kv_heads, G, d], into the last page."""
        last, answers = self.pages[-1], self.sizes.answers
        with _in_any_order():
            last.keys[layer][:answers].index_copy_(2, self.write, key)
            last.values[layer][:answers].index_copy_(2, self.write, value)

    def _spread(self, rows: Tensor) -> Tensor:
        """Arrange rows by answer: [R, kv_heads, share, n] -> [N, kv_heads, G * share, n]."""
        _, heads, share, size = rows.shape
        grid = rows.index_select(0, self.source)
        grid = grid.view(self.sizes.answers, self.sizes.groups, heads, share, size).transpose(1, 2)
        return grid.reshape(self.sizes.answers, heads, self.sizes.groups * share, size)

    def _collect(self, grid: Tensor, share: int) -> Tensor:
        """Take the rows out: [N, kv_heads, G * share, n] -> [R, kv_heads * share, n]."""
        answers, heads, _, size = grid.shape
        rows = grid.view(answers, heads, self.sizes.groups, share, size).transpose(1, 2)
        rows = rows.reshape(self.sizes.slots, heads * share, size)
        return rows.index_select(0, self.slots)

    def _by_prompt(self, grid: Tensor) -> Tensor:
        """Put the answers of a prompt side by side: [N, kv_heads, q, n] -> [P, kv_heads, W * q, n]."""
        _, heads, queries, size = grid.shape
        prompts, width = self.sizes.prompts, self.sizes.width
        wide = grid.reshape(prompts, width, heads, queries, size).transpose(1, 2)
        return wide.reshape(prompts, heads, width * queries, size)

    def _by_answer(self, wide: Tensor) -> Tensor:
        """Undo `_by_prompt`."""
        prompts, heads, _, size = wide.shape
        grid = wide.view(prompts, heads, self.sizes.width, -1, size).transpose(1, 2)
        return grid.reshape(self.sizes.answers, heads, -1, size)


@contextmanager
def _in_any_order() -> Iterator[None]:
    """Allow any order of writes: the slots are distinct, so that it changes nothing, and an order would cost a sort."""
    before, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
