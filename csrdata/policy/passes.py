"""The passes through a model that decoding asks for: over a shared prefix, or plainly, everything encoded again.

The shared way (`shared_attention`) is for models that keep nothing of the past but keys and values, attend to all of it
through transformers' attention interface, and place a token by counting. Most do; a sliding window, a recurrent layer or
image tokens that share a position break it, and not always loudly. `passes_for` tries it on a prompt and takes it only
where it gives the log-probabilities that a plain pass gives; any other model goes the plain way, slowly.

The shared way keeps the rows of the layer before, from which the next one branches; the plain way keeps nothing. What is
chosen, and when a row stops, is `decoding`'s business.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from csrdata.policy.prompting import with_answers
from csrdata.policy.shared_attention import AnswerCache, DecodingStep, PromptCache, gather, use_shared_prefix

_NEAR = 1e-3
"""Nats: how far the shared way's log-probabilities may lie from a plain pass's, in float32."""
_NEAR_IN_HALF = 0.05
"""Total variation of the two distributions in bfloat16 and float16, whose rounding moves unlikely tokens by tenths."""
_PLAIN_ROWS = 8
"""Rows of a plain pass: its logits take rows x tokens x vocabulary."""


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
        self.present: list[int] = []
        self.first_logits: dict[int, Tensor] = {}
        self.step: DecodingStep | None = None
        self.groups = 0
        self.lengths: list[int] = []
        """Tokens of each node's answer before the layer's sentences."""

    @torch.inference_mode()
    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Encode images and prompts once, and keep their keys and values."""
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
            position_ids=step.begin()[:, None],
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


class PlainPasses:
    """Every pass encodes image, prompt and answer again: slow, and right for any model."""

    together = False

    def __init__(self, model: PreTrainedModel) -> None:
        """Any image-text-to-text model of transformers."""
        self.model = model
        self.inputs: dict[int, Mapping[str, Tensor]] = {}
        self.rows: list[tuple[int, tuple[int, ...]]] = []

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        """Keep the inputs of one prompt."""
        (prompt,) = prompts
        self.inputs[prompt] = inputs

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        """Encode each answer so far."""
        alive = {node.prompt for node in nodes}
        self.inputs = {prompt: inputs for prompt, inputs in self.inputs.items() if prompt in alive}
        answers = [(node.prompt, node.tokens) for node in nodes]
        self.rows = [answer for answer in answers for _ in range(groups)]
        return self._logits(answers)

    def keep(self, going: Sequence[int]) -> None:
        """Nothing is kept of the others."""
        self.rows = [self.rows[row] for row in going]

    def feed(self, tokens: Sequence[int]) -> Tensor:
        """Encode each row with its new token."""
        self.rows = [(prompt, (*own, token)) for (prompt, own), token in zip(self.rows, tokens, strict=True)]
        return self._logits(self.rows)

    def _logits(self, rows: Sequence[tuple[int, tuple[int, ...]]]) -> Tensor:
        found: dict[int, Tensor] = {}
        for prompt, inputs in self.inputs.items():
            mine = [index for index, (owner, _) in enumerate(rows) if owner == prompt]
            for start in range(0, len(mine), _PLAIN_ROWS):
                chunk = mine[start : start + _PLAIN_ROWS]
                logits = plain_logits(self.model, inputs, [rows[index][1] for index in chunk])
                found |= dict(zip(chunk, logits, strict=True))
        return torch.stack([found[index] for index in range(len(rows))])


@torch.inference_mode()
def plain_logits(
    model: PreTrainedModel, inputs: Mapping[str, Tensor], answers: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return the next-token logits [N, V] of N answers to one prompt, from one pass over everything.

    Args:
        model: any image-text-to-text model.
        inputs: the processor's output for one prompt: `input_ids` and `attention_mask` [1, L].
        answers: their tokens so far.
    """
    longest, count = max(map(len, answers)), len(answers)
    ids = torch.zeros(count, longest, dtype=torch.long, device=model.device)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(answers):
        ids[row, : len(own)] = torch.tensor(own, dtype=torch.long)
        mask[row, : len(own)] = 1
    repeated = {name: value.repeat(count, *[1] * (value.dim() - 1)) for name, value in inputs.items()}
    rows = with_answers(repeated, ids, mask, image_token=model.config.image_token_id)
    length = inputs["input_ids"].shape[1]
    logits: Tensor = model(**rows, use_cache=False).logits
    return logits[range(count), [length + len(own) - 1 for own in answers]]


def passes_for(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Passes:
    """Return the shared way where it is the plain one, for this model, on this prompt; else the plain way, with a warning.

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
    """Say whether decoding two tokens over a shared prefix gives the log-probabilities of a plain pass."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or not model._can_set_attn_implementation():  # noqa: SLF001 - no public one
        return False
    before = model.config._attn_implementation  # noqa: SLF001 - the same
    expected = plain_logits(model, inputs, [()])
    token = int(expected.argmax())
    expected = plain_logits(model, inputs, [(token, token)])
    shared = SharedPasses(model)
    try:
        shared.admit([0], inputs)
        shared.begin([Node(0, (), None)], groups=2)
        shared.feed([token, token])
        found = shared.feed([token, token])
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        agree = False  # its forward takes or gives something else
    else:
        agree = near(found[:1], expected)
    if not agree:
        model.set_attn_implementation(before)
    return agree


def near(found: Tensor, expected: Tensor) -> bool:
    """Say whether two rows of logits [1, V] are the same but for the rounding of their type."""
    one, other = found.float().log_softmax(-1), expected.float().log_softmax(-1)
    if found.dtype == torch.float32:
        return float((one - other).abs().max()) <= _NEAR
    return float((one.exp() - other.exp()).abs().sum()) / 2 <= _NEAR_IN_HALF
