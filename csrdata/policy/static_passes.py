"""Shared-prefix passes with static shapes, for CUDA graphs: on a GPU, a step is otherwise bound by its launches.

The same attention as `csrdata.policy.passes.SharedPasses`, in fixed places (`csrdata.policy.static_cache`) and for a few
sizes (`csrdata.policy.buckets`). On a GPU each size is captured once and replayed (`csrdata.policy.graphs`). On a CPU the
steps run as they are, which only tests do: the CPU's path, and its bytes, are those of `SharedPasses`.

Places and graphs are kept from one shard to the next (`kept_passes`). The sizes of a step follow from its shard alone: rows
do not depend on the shards before.

An answer's last token, which no row has fed yet, is token 0 of its new sentences: group 0 feeds it, and all groups see it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from csrdata.policy.buckets import PAGE_TOKENS, pages, prompts_in_use, rows_fed
from csrdata.policy.graphs import Runner, runner_for
from csrdata.policy.passes import Node
from csrdata.policy.prefill import placed, prefilled
from csrdata.policy.shared_attention import use_shared_prefix
from csrdata.policy.static_cache import Page, PromptPool
from csrdata.policy.static_step import Places, Sizes, StaticStep


class StaticPasses:
    """Encodes each prompt once; all rows of all its answers attend to that prefix, in steps of a few sizes."""

    together = True

    def __init__(self, model: PreTrainedModel, *, runner: Runner | None = None) -> None:
        """Set the model's attention implementation; ordinary calls of the model give the same results as before.

        Args:
            model: any image-text-to-text model whose attention goes through transformers' interface, without windows.
            runner: runs the steps; None for CUDA graphs on a GPU.
        """
        use_shared_prefix(model)
        self.model = model
        self.runner = runner_for(model.device) if runner is None else runner
        self.pool = PromptPool()
        self.pages: list[Page] = []
        self.places: Places | None = None
        self.start()

    def start(self) -> None:
        """Forget all prompts, as before a new shard; places and graphs are kept."""
        self.pool.places.clear()
        self.capacity = 0
        """The most prompts in flight so far."""
        self.axes: int | None = None
        """The number of axes that the model counts positions on; None: one."""
        self.entering: list[tuple[list[int], list[Any], Tensor, Tensor]] = []
        """Prompts that were admitted since the last depth began: numbers, layers of a cache, mask, following positions."""
        self.first_logits: dict[int, Tensor] = {}
        self.width = 1
        """The most live answers of a prompt so far."""
        self.sizes: Sizes | None = None
        self.rows: list[tuple[int, int]] = []
        """Of each current row, the place of its answer and its group."""
        self.nodes: list[tuple[int, int]] = []
        """Of each node of this depth, the place of its answer and the answer's tokens."""
        self.fed = 0
        """The number of the next token that is fed, from 0: the last one of the answers so far."""

    @torch.inference_mode()
    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Encode the images and prompts; their keys and values move to fixed places when the next depth begins."""
        first, layers = prefilled(self.model, inputs)
        # Not yet: prompts that have ended keep their places until the next depth says which go on.
        self.entering.append((list(prompts), layers, inputs["attention_mask"].bool(), first.following))
        self.axes = first.axes
        self.first_logits |= dict(zip(prompts, first.logits, strict=True))

    @torch.inference_mode()
    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Feed the last token of each non-empty answer, and give the sentences that continue the answers their places."""
        live = {node.prompt for node in nodes}
        self._enter(live)
        prompts = prompts_in_use(len(live), self.capacity)
        self.pool.move_into(prompts)
        # Of the depth before, whose grid is read here for the last time.
        slots, old = self._answer_slots(nodes), self.pages[: self._used_pages()]
        answers, width = self._grid(nodes)
        past = [len(one) for one in slots]
        past_pages = pages(max(past), groups)
        self.sizes = Sizes(prompts, width, groups, rows=0, past_pages=past_pages, pages=past_pages)
        self._move(slots, answers, old, groups=groups)
        self.nodes = [(answer, len(node.tokens)) for answer, node in zip(answers, nodes, strict=True)]
        self._hide(past)
        first = {
            index: self.first_logits[node.prompt] for index, node in enumerate(nodes) if node.row is None
        }
        self.first_logits = {}  # every prompt starts in the first depth after it was admitted
        going_on = [index for index, node in enumerate(nodes) if node.row is not None]
        self.fed = 0
        if going_on:
            self._arrange([(answers[index], 0) for index in going_on])
            logits = self.feed([nodes[index].tokens[-1] for index in going_on])
            first |= dict(zip(going_on, logits, strict=True))
        self.fed = 1
        self._arrange([(answer, group) for answer in answers for group in range(groups)])
        return torch.stack([first[index] for index in range(len(nodes))])

    @torch.inference_mode()
    def keep(self, going: Sequence[int]) -> None:
        """Continue these rows; what the others have stored stays, because the next depth may continue them."""
        self._arrange([self.rows[row] for row in going])

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row."""
        sizes, places = self._sizes(), self._places()
        sentence_pages = self.fed // PAGE_TOKENS + 1
        sizes = _with(sizes, pages=sizes.past_pages + sentence_pages)
        self._have_pages(sizes.pages)
        places.tokens[: len(tokens)] = torch.tensor(tokens, device=self.model.device)
        places.count.fill_(self.fed)
        places.in_page.fill_(self.fed % PAGE_TOKENS)
        step = StaticStep(self.pool, self.pages, places, sizes)
        self.runner.run(sizes, lambda: self._compute(step))
        self.fed += 1
        return places.logits[: len(tokens)].clone()

    def _compute(self, step: StaticStep) -> None:
        """Run the model on the rows of a step, from fixed places to fixed places."""
        places, rows = step.places, step.sizes.rows
        output = self.model(
            input_ids=places.tokens[:rows, None],
            position_ids=placed(step.begin(), self.axes),
            attention_mask=places.seen[:rows],
            use_cache=False,
            shared_prefix=step,
        )
        places.logits[:rows].copy_(output.logits[:, -1])

    def _enter(self, live: Collection[int]) -> None:
        """Free the places of prompts without a live answer, and give the new prompts theirs."""
        if not self.pool.places and not self.entering:
            raise ValueError("no prompt has been admitted")
        self.pool.leave_only(set(live) - {prompt for prompts, *_ in self.entering for prompt in prompts})
        for entering in self.entering:
            if self.pool.put(*entering):
                self.runner.clear()
        self.capacity = max(self.capacity, len(self.pool.places))
        self.entering = []

    def _answer_slots(self, nodes: Sequence[Node]) -> list[list[int]]:
        """Return where the tokens of each answer are, without its last one, in the grid of the depth before.

        A slot is counted through the rows of all places and pages: place * slots of all pages + slot.
        """
        found: list[list[int]] = []
        for node in nodes:
            if node.row is None:
                found.append([])
                continue
            sizes = self._sizes()
            parent, group = divmod(node.row, sizes.groups)
            answer, before = self.nodes[parent]
            sentence = sizes.past_pages * PAGE_TOKENS * sizes.groups
            own = len(node.tokens) - before - 1
            slots = [*range(before - 1), sentence] if before else []
            slots += [sentence + token * sizes.groups + group for token in range(1, own + 1)]
            start = answer * self._used_pages() * PAGE_TOKENS * sizes.groups
            found.append([start + slot for slot in slots])
        return found

    def _used_pages(self) -> int:
        """Return the pages that the present depth has used."""
        if self.sizes is None:
            return 0
        return self.sizes.past_pages + (self.fed - 1) // PAGE_TOKENS + 1

    def _grid(self, nodes: Sequence[Node]) -> tuple[list[int], int]:
        """Return the place of each node's answer, and the width of the grid: 1, or the most answers of a prompt so far."""
        ranks: dict[int, int] = {}
        order = []
        for node in nodes:
            order.append(ranks.get(node.prompt, 0))
            ranks[node.prompt] = order[-1] + 1
        most = max(ranks.values())
        self.width = max(self.width, most)
        width = 1 if most == 1 else self.width
        places = [
            self.pool.places[node.prompt] * width + rank for node, rank in zip(nodes, order, strict=True)
        ]
        return places, width

    def _move(
        self, slots: Sequence[Sequence[int]], answers: Sequence[int], old: Sequence[Page], *, groups: int
    ) -> None:
        """Move the tokens of answers from the pages of the depth before into those of this one, layer by layer."""
        sizes, answers_now = self._sizes(), self.capacity * self.width
        if self.places is None or self.places.groups != groups or self.places.answers < answers_now:
            head: Any = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
            like = self.pool.keys[0]
            self.places = Places(
                answers=answers_now, groups=groups, vocabulary=head.weight.shape[0], like=like
            )
            self.pages = []
            self.runner.clear()
        self._have_pages(sizes.past_pages)
        longest = max(len(one) for one in slots)
        if not longest:
            return
        index = torch.zeros(sizes.answers, longest, dtype=torch.long)
        for answer, own in zip(answers, slots, strict=True):
            index[answer, : len(own)] = torch.tensor(own, dtype=torch.long)
        index = index.to(self.model.device)
        page_slots = PAGE_TOKENS * groups
        for layer in range(len(self.pool.keys)):
            for name in ("keys", "values"):
                moved = _gathered([getattr(page, name)[layer] for page in old], index)
                for page, part in zip(self.pages, torch.split(moved, page_slots, 2), strict=False):
                    getattr(page, name)[layer][: sizes.answers, :, : part.shape[2]] = part

    def _hide(self, past: Sequence[int]) -> None:
        """Write the masks of all pages, and the position that each answer goes on from."""
        sizes, places, following = self._sizes(), self._places(), self.pool.following
        assert following is not None  # noqa: S101 - prompts have been admitted
        self._have_pages(sizes.past_pages + 1)
        lengths, has_token, start = (torch.zeros(sizes.answers, dtype=torch.long) for _ in range(3))
        for (answer, tokens), before in zip(self.nodes, past, strict=True):
            lengths[answer], has_token[answer], start[answer] = before, tokens > 0, tokens - 1
        device = following.device
        owners = torch.arange(sizes.answers, device=device) // sizes.width
        places.start[: sizes.answers] = following[owners] + start.to(device)
        page_slots = PAGE_TOKENS * sizes.groups
        lengths = lengths.to(device)[:, None, None, None]
        for number, page in enumerate(self.pages):
            hidden = page.hidden[: sizes.answers]
            if number < sizes.past_pages:
                slot = number * page_slots + torch.arange(page_slots, device=device)
                hidden.zero_().masked_fill_(slot >= lengths, -torch.inf)
            else:
                hidden.copy_(page.sentence)
        first = self.pages[sizes.past_pages].hidden[: sizes.answers]
        first[..., : sizes.groups] = -torch.inf
        first[..., 0].masked_fill_(has_token.bool().to(device)[:, None, None], 0)

    def _arrange(self, rows: Sequence[tuple[int, int]]) -> None:
        sizes = self._sizes()
        self.rows = list(rows)
        self.sizes = _with(sizes, rows=rows_fed(len(rows), sizes.slots))
        self._places().arrange(self.rows, self.sizes)

    def _have_pages(self, count: int) -> None:
        """Add pages until there are so many; those that are there stay in their places."""
        places = self._places()
        while len(self.pages) < count:
            self.pages.append(Page(self.pool.keys, answers=places.answers, groups=places.groups))

    def _sizes(self) -> Sizes:
        if self.sizes is None:
            raise ValueError("no depth has begun")
        return self.sizes

    def _places(self) -> Places:
        if self.places is None:
            raise ValueError("no depth has begun")
        return self.places


_KEPT = "_csrdata_static_passes"
"""The attribute of a model that holds its passes from one shard to the next."""


def kept_passes(model: PreTrainedModel) -> StaticPasses:
    """Return a model's passes, without prompts: those of the shard before with their graphs, or new ones."""
    passes: StaticPasses | None = getattr(model, _KEPT, None)
    if passes is None:
        passes = StaticPasses(model)
        setattr(model, _KEPT, passes)
    passes.start()
    return passes


def has_kept_passes(model: PreTrainedModel) -> bool:
    """Return whether an earlier shard has left passes."""
    return getattr(model, _KEPT, None) is not None


def forget_passes(model: PreTrainedModel) -> None:
    """Free the memory of a model's passes."""
    if has_kept_passes(model):
        delattr(model, _KEPT)


def _with(sizes: Sizes, *, rows: int | None = None, pages: int | None = None) -> Sizes:
    """Return sizes with other rows or pages."""
    return Sizes(
        sizes.prompts,
        sizes.width,
        sizes.groups,
        rows=sizes.rows if rows is None else rows,
        past_pages=sizes.past_pages,
        pages=sizes.pages if pages is None else pages,
    )


def _gathered(stored: Sequence[Tensor], index: Tensor) -> Tensor:
    """Return the tokens at `index` [N, n] from the pages of one layer, each [_, kv_heads, slots, d]: [N, kv_heads, n, d].

    Args:
        stored: the pages.
        index: place * slots of all pages + slot.
    """
    whole = torch.cat(list(stored), 2)
    _, heads, slots, size = whole.shape
    place, slot = index // slots, index % slots
    blocks = place[:, None] * heads + torch.arange(heads, device=index.device)[None, :, None]
    rows = blocks * slots + slot[:, None]
    return whole.view(-1, size).index_select(0, rows.flatten()).view(*rows.shape, size)
