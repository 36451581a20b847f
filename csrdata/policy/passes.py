"""The forward passes that decoding needs: with a shared prefix, or plain, where everything is encoded again.

`SharedPasses` (see `csrdata.policy.shared_attention`) needs a model whose only state is keys and values, that attends to all
of them through transformers' attention interface, and whose positions count tokens. Most models meet these conditions. A
sliding window, a recurrent layer or image tokens with one common position do not, sometimes without an error. `passes_for`
therefore compares both on one prompt: it returns shared passes only if they give the log-probabilities of a plain pass. Any
other model uses `PlainPasses`, which are slow.

Shared passes keep the rows of the previous depth of the search, because the next depth continues some of them. Plain passes
keep only the inputs of the prompts. `csrdata.policy.decoding` chooses the tokens and decides when a row stops.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from csrdata.policy.shared_attention import AnswerCache, DecodingStep, PromptCache, gather, use_shared_prefix

_TOLERANCE = 1e-3
"""Largest difference, in nats, between the log-probabilities of shared and plain passes in float32."""
_TOLERANCE_IN_HALF = 0.05
"""Largest total variation distance (0..1) in half precision, where unlikely tokens move by tenths of a nat."""
_PLAIN_ROWS = 8
"""Rows per plain pass: its logits need memory for rows x tokens x vocabulary."""


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
        self.present: list[int] = []
        self.first_logits: dict[int, Tensor] = {}
        self.step: DecodingStep | None = None
        self.groups = 0
        self.lengths: list[int] = []
        """Tokens of each node's answer at the start of the depth."""

    @torch.inference_mode()
    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Encode the images and prompts, and keep their keys and values."""
        mask = inputs["attention_mask"]
        cache = DynamicCache(config=self.model.config.get_text_config())
        output = self.model(
            **inputs,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        layers: list[Any] = list(cache.layers)
        new = PromptCache([layer.keys for layer in layers], [layer.values for layer in layers], mask.bool())
        self.prefix = new if self.prefix is None else self.prefix.join(new)
        self.present += prompts
        self.first_logits |= dict(zip(prompts, output.logits[:, -1], strict=True))

    @torch.inference_mode()
    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Feed the last token of each non-empty answer, and make room for the sentences that continue the answers."""
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
            has_token = torch.tensor([[node.row is not None] for node in nodes], device=device)
            answers = answers.continued(has_token, groups)
        else:
            answers = AnswerCache(torch.zeros(len(nodes), 0, dtype=torch.bool, device=device), groups)
        rows = [(index, group) for index in range(len(nodes)) for group in range(groups)]
        self.step, self.groups = DecodingStep(prefix, owners, answers, rows), groups
        self.lengths = [len(node.tokens) for node in nodes]
        return torch.stack([first[index] for index in range(len(nodes))])

    def keep(self, going: Sequence[int]) -> None:
        """Continue these rows; the others stay in memory, because the next depth may continue them."""
        self._step().keep(going)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row."""
        step = self._step()
        output = self.model(
            input_ids=torch.tensor(tokens, device=self.model.device)[:, None],
            position_ids=step.begin()[:, None],
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


class PlainPasses:
    """Encodes image, prompt and answer again in every pass: slow, but correct for any model."""

    together = False

    def __init__(self, model: PreTrainedModel) -> None:
        """Accept any image-text-to-text model of transformers."""
        self.model = model
        self.inputs: dict[int, Mapping[str, Tensor]] = {}
        self.rows: list[tuple[int, tuple[int, ...]]] = []

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Keep the inputs of one prompt."""
        (prompt,) = prompts
        self.inputs[prompt] = inputs

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Encode each answer; see `Passes.begin`."""
        alive = {node.prompt for node in nodes}
        self.inputs = {prompt: inputs for prompt, inputs in self.inputs.items() if prompt in alive}
        answers = [(node.prompt, node.tokens) for node in nodes]
        self.rows = [answer for answer in answers for _ in range(groups)]
        return self._logits(answers)

    def keep(self, going: Sequence[int]) -> None:
        """Continue these rows and drop the others."""
        self.rows = [self.rows[row] for row in going]

    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Encode each row with its new token."""
        self.rows = [(prompt, (*own, token)) for (prompt, own), token in zip(self.rows, tokens, strict=True)]
        return self._logits(self.rows)

    def _logits(self, rows: Sequence[tuple[int, tuple[int, ...]]]) -> Tensor:
        by_row: dict[int, Tensor] = {}
        for prompt, inputs in self.inputs.items():
            own_rows = [index for index, (owner, _) in enumerate(rows) if owner == prompt]
            for start in range(0, len(own_rows), _PLAIN_ROWS):
                chunk = own_rows[start : start + _PLAIN_ROWS]
                logits = plain_logits(self.model, inputs, [rows[index][1] for index in chunk])
                by_row |= dict(zip(chunk, logits, strict=True))
        return torch.stack([by_row[index] for index in range(len(rows))])


@torch.inference_mode()
def plain_logits(
    model: PreTrainedModel, inputs: Mapping[str, Tensor], answers: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return the next-token logits [N, V] of N answers to one prompt, from one forward pass.

    Args:
        model: any image-text-to-text model.
        inputs: the processor's output for one prompt: `input_ids` and `attention_mask` [1, L].
        answers: the N answers' tokens so far; an answer may be empty.
    """
    shape = inputs["input_ids"].shape
    longest = max(map(len, answers))
    rows = {name: _repeat(value, shape, rows=len(answers), tokens=longest) for name, value in inputs.items()}
    for row, own in enumerate(answers):
        if own:
            end = shape[1] + len(own)
            rows["input_ids"][row, shape[1] : end] = torch.tensor(own, device=model.device)
            rows["attention_mask"][row, shape[1] : end] = 1
    last = [shape[1] + len(own) - 1 for own in answers]
    logits: Tensor = model(**rows, use_cache=False).logits
    return logits[range(len(answers)), last]


def passes_for(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Passes:
    """Return `SharedPasses` if they give this model's plain results on one prompt; else warn and return `PlainPasses`.

    Args:
        model: any image-text-to-text model.
        inputs: the processor's output for one prompt: `input_ids` and `attention_mask` [1, L].
    """
    if shares_prefix(model, inputs):
        return SharedPasses(model)
    warnings.warn(
        f"{type(model).__name__} cannot be decoded over a shared prefix: image and answer are encoded again for every token",
        stacklevel=2,
    )
    return PlainPasses(model)


@torch.inference_mode()
def shares_prefix(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> bool:
    """Return whether decoding two tokens over a shared prefix gives the log-probabilities of a plain pass.

    If not, the model keeps the attention implementation that it had.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or not model._can_set_attn_implementation():  # noqa: SLF001 - no public name
        return False
    before = model.config._attn_implementation  # noqa: SLF001 - no public name
    expected = plain_logits(model, inputs, [()])
    token = int(expected.argmax())
    expected = plain_logits(model, inputs, [(token, token)])
    shared = SharedPasses(model)
    try:
        shared.admit([0], inputs)
        shared.begin([Node(0, (), None)], groups=2)
        shared.feed([token, token])
        actual = shared.feed([token, token])
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        agree = False  # the model's forward has another signature or output
    else:
        agree = near(actual[:1], expected)
    if not agree:
        model.set_attn_implementation(before)
    return agree


def near(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two rows of logits [1, V] are equal within the rounding error of their dtype."""
    one, other = actual.float().log_softmax(-1), expected.float().log_softmax(-1)
    if actual.dtype == torch.float32:
        return float((one - other).abs().max()) <= _TOLERANCE
    return float((one.exp() - other.exp()).abs().sum()) / 2 <= _TOLERANCE_IN_HALF


def _repeat(value: Tensor, shape: torch.Size, *, rows: int, tokens: int) -> Tensor:
    """Repeat a prompt's input for `rows` rows; append `tokens` zeros to inputs with the shape of `input_ids`."""
    if value.shape == shape:
        value = torch.cat([value, value.new_zeros(1, tokens)], dim=1)
    return value.repeat(rows, *[1] * (value.dim() - 1))
