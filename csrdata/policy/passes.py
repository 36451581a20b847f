"""The forward passes that decoding needs, and the fastest of them: with a shared prefix.

`SharedPasses` (see `csrdata.policy.shared_attention`) needs a model whose only state is keys and values, and that attends to
them through transformers' attention interface: to all of them, or to a sliding window. The other passes are in
`csrdata.policy.one_by_one`; `csrdata.policy.choosing` chooses between them.

Shared passes keep the rows of the previous depth of the search, because the next depth continues some of them.
`csrdata.policy.decoding` chooses the tokens and decides when a row stops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from csrdata.policy.prefill import placed, prefilled
from csrdata.policy.shared_attention import AnswerCache, DecodingStep, PromptCache, gather, use_shared_prefix


@dataclass(frozen=True, slots=True)
class Node:
    """A live answer that a depth of the search starts from."""

    prompt: int
    """The prompt's number, as given to `admit`."""
    tokens: tuple[int, ...]
    """Its tokens so far."""
    row: int | None
    """The row of the previous depth that decoded its last sentence; None for the empty answer."""


class Passes(Protocol):
    """The forward passes that decoding needs: `admit` prompts, then `begin` and `feed` for each depth."""

    together: bool
    """Whether `admit` takes several prompts at once."""

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Admit P prompts; `inputs` is the processor's output: `input_ids`, `attention_mask` [P, L], padded on the left."""

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Start a depth with `groups` rows for each of N nodes; return the nodes' next-token logits [N, V].

        Row n * groups + g is group g of node n. Prompts without a node are dropped.
        """

    def keep(self, going: Sequence[int]) -> None:
        """Continue only these of the current rows, in this order; `going` holds positions among them."""

    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each current row; return the next-token logits [rows, V]."""


class SharedPasses:
    """Encodes each prompt once; all rows of all its answers attend to that prefix."""

    together = True

    def __init__(self, model: PreTrainedModel) -> None:
        """Set the model's attention implementation; ordinary calls of the model give the same results as before."""
        use_shared_prefix(model)
        self.model = model
        self.prefix: PromptCache | None = None
        self.axes: int | None = None
        """The number of axes that the model counts positions on; None: one."""
        self.present: list[int] = []
        self.first_logits: dict[int, Tensor] = {}
        self.step: DecodingStep | None = None
        self.groups = 0
        self.lengths: list[int] = []
        """Tokens of each node's answer at the start of the depth."""

    @torch.inference_mode()
    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Encode the images and prompts, and keep their keys and values."""
        first, layers = prefilled(self.model, inputs)
        new = PromptCache(
            [layer.keys for layer in layers],
            [layer.values for layer in layers],
            inputs["attention_mask"].bool(),
            first.following,
        )
        self.prefix = new if self.prefix is None else self.prefix.join(new)
        self.axes = first.axes
        self.present += prompts
        self.first_logits |= dict(zip(prompts, first.logits, strict=True))

    @torch.inference_mode()
    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Feed the last token of each non-empty answer, and make room for the sentences that continue the answers."""
        prefix = self._leave_only({node.prompt for node in nodes})
        owners = [self.present.index(node.prompt) for node in nodes]
        device = self.model.device
        first = {
            index: self.first_logits[node.prompt] for index, node in enumerate(nodes) if node.row is None
        }
        self.first_logits = {}  # every prompt starts in the first depth after it was admitted
        going_on = [index for index, node in enumerate(nodes) if node.row is not None]
        if going_on:
            answers = self._gather(nodes, groups)
            self.step = DecodingStep(prefix, owners, answers, [(index, 0) for index in going_on])
            logits = self.feed([nodes[index].tokens[-1] for index in going_on])
            first |= dict(zip(going_on, logits, strict=True))
            has_token = torch.tensor([[node.row is not None] for node in nodes], device=device)
            answers = answers.continued(has_token, groups)
        else:
            answers = AnswerCache(torch.zeros(len(nodes), 0, dtype=torch.bool, device=device), groups)
        rows = [(index, group) for index in range(len(nodes)) for group in range(groups)]
        self.step, self.groups = DecodingStep(prefix, owners, answers, rows), groups
        self.lengths = [len(node.tokens) for node in nodes]
        return torch.stack([first[index] for index in range(len(nodes))])

    @torch.inference_mode()
    def keep(self, going: Sequence[int]) -> None:
        """Continue these rows; the others stay in memory, because the next depth may continue them."""
        self._step().keep(going)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row."""
        step = self._step()
        output = self.model(
            input_ids=torch.tensor(tokens, device=self.model.device)[:, None],
            position_ids=placed(step.begin(), self.axes),
            use_cache=False,
            shared_prefix=step,
        )
        step.end()
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _step(self) -> DecodingStep:
        if self.step is None:
            raise ValueError("no depth has begun")
        return self.step

    def _leave_only(self, prompts: set[int]) -> PromptCache:
        """Drop the prompts that have no live answer; return the cache of the others."""
        if self.prefix is None:
            raise ValueError("no prompt has been admitted")
        if len(prompts) < len(self.present):
            kept = [index for index, prompt in enumerate(self.present) if prompt in prompts]
            self.prefix = self.prefix.select(kept)
            self.present = [self.present[index] for index in kept]
        return self.prefix

    def _gather(self, nodes: Sequence[Node], groups: int) -> AnswerCache:
        """Copy the keys and values of the answers, without those of their last token, into one cache."""
        step = self._step()
        where: list[tuple[int, int, Sequence[int]]] = []
        for node in nodes:
            if node.row is None:
                where.append((0, 0, []))
                continue
            parent, group = divmod(node.row, self.groups)
            part, answer = step.location[node.row]
            past = self.lengths[parent]
            slots = step.parts[part].slots(group, past=past, tokens=len(node.tokens) - past - 1)
            where.append((part, answer, slots))
        return gather(step.parts, where, groups=groups)
