"""The passes through a model that decoding asks for, and the fast ones: over a shared prefix.

The shared path (`shared_attention`) is for models that keep nothing of the past but keys and values, and attend to them
through transformers' attention interface: to all of them, or to a window of the last tokens. The other paths are in
`one_by_one`, and `choosing` says which one a model takes.

The shared path keeps the rows of the layer before, from which the next one branches. What is chosen, and when a row
stops, is `decoding`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from csrdata.policy.prefill import placed, prefill
from csrdata.policy.shared_attention import AnswerCache, DecodingStep, PromptCache, gather, use_shared_prefix


@dataclass(frozen=True, slots=True)
class Node:
    """A live answer that a layer starts from."""

    prompt: int
    """The number it was admitted by."""
    tokens: tuple[int, ...]
    """Its tokens so far."""
    row: int | None
    """The row of the layer before that its last sentence was; None for the empty answer."""


class Passes(Protocol):
    """What decoding needs of a model; one layer of the search after another."""

    together: bool
    """Whether prompts may be admitted together; else one by one."""

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Take in prompts: the processor's output, `input_ids` and `attention_mask` [P, L] padded on the left."""

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Start a layer with `groups` rows for each node; return the nodes' next-token logits [N, V].

        Prompts without a node are forgotten.
        """

    def keep(self, going: Sequence[int]) -> None:
        """Go on with these of the rows that are going, in this order."""

    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Give each going row one token; return the next token's logits [rows, V]."""


class SharedPasses:
    """Each prompt is encoded once; all rows of all its answers attend to that one prefix."""

    together = True

    def __init__(self, model: PreTrainedModel) -> None:
        """Switch the model's attention; ordinary calls of the model stay what they were."""
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
        """Tokens of each node's answer before the layer's sentences."""

    @torch.inference_mode()
    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Encode images and prompts once, and keep their keys and values."""
        cache = DynamicCache()  # of full layers: one for windows would drop what lies outside of them
        first = prefill(self.model, inputs, cache)
        layers: list[Any] = list(cache.layers)
        tokens = inputs["attention_mask"].shape[1]
        for number, layer in enumerate(layers):
            if layer.keys is None or layer.keys.shape[2] != tokens:
                raise ValueError(
                    f"layer {number} keeps something else than one key for each of {tokens} tokens"
                )
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
        """Feed the last token of each answer that goes on, and make room for the sentences that continue it."""
        prefix = self._leave_only({node.prompt for node in nodes})
        owners = [self.present.index(node.prompt) for node in nodes]
        device = self.model.device
        first = {
            index: self.first_logits.pop(node.prompt) for index, node in enumerate(nodes) if node.row is None
        }
        going_on = [index for index, node in enumerate(nodes) if node.row is not None]
        if going_on:
            answers = self._gather(nodes, groups)
            self.step = DecodingStep(prefix, owners, answers, [(index, 0) for index in going_on])
            logits = self.feed([nodes[index].tokens[-1] for index in going_on])
            first |= dict(zip(going_on, logits, strict=True))
            spoken = torch.tensor([[node.row is not None] for node in nodes], device=device)
            answers = answers.continued(spoken, groups)
        else:
            answers = AnswerCache(torch.zeros(len(nodes), 0, dtype=torch.bool, device=device), groups)
        rows = [(index, group) for index in range(len(nodes)) for group in range(groups)]
        self.step, self.groups = DecodingStep(prefix, owners, answers, rows), groups
        self.lengths = [len(node.tokens) for node in nodes]
        return torch.stack([first[index] for index in range(len(nodes))])

    def keep(self, going: Sequence[int]) -> None:
        """Leave the other rows where they are: the next layer may branch from them."""
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
            raise ValueError("no layer has begun")
        return self.step

    def _leave_only(self, prompts: set[int]) -> PromptCache:
        """Forget the prompts that have no live answer."""
        if self.prefix is None:
            raise ValueError("no prompt has been admitted")
        if len(prompts) < len(self.present):
            kept = [index for index, prompt in enumerate(self.present) if prompt in prompts]
            self.prefix = self.prefix.select(kept)
            self.present = [self.present[index] for index in kept]
        return self.prefix

    def _gather(self, nodes: Sequence[Node], groups: int) -> AnswerCache:
        """Bring together what the answers have behind them, all but their last token."""
        step = self._step()
        where: list[tuple[int, int, Sequence[int]]] = []
        for node in nodes:
            if node.row is None:
                where.append((0, 0, []))
                continue
            parent, group = divmod(node.row, self.groups)
            part, answer = step.home[node.row]
            past = self.lengths[parent]
            slots = step.parts[part].slots(group, past=past, tokens=len(node.tokens) - past - 1)
            where.append((part, answer, slots))
        return gather(step.parts, where, groups=groups)
