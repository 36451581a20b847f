"""Which path a model's decoding takes: the fastest that gives the log-probabilities of encoding everything again.

| path | what is encoded | for |
|---|---|---|
| `graphs` | each prompt once, each token once | the same on a GPU, without windows, in steps that CUDA graphs replay |
| `shared` | each prompt once, each token once | attention through transformers' interface, full or with a window |
| `cached` | image, prompt and answer once per sentence | any other model whose cache can be copied |
| `plain` | everything for every token | the rest |

The choice names no family: it tries each path on prompts of the shard, and takes it only if its logits equal those of
plain passes. The prompts are the longest of each image size, because the size of an image decides how many tokens it has
and where they are placed, and the shortest prompt, so that rows are padded. The longest prompt is tried a second time
with as many tokens after it as an answer may have: a sliding window that the search would leave has an effect there.
On a CPU the first path is never taken: the bytes of its results are those of `shared`.
"""

import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from csrdata.policy.memory import is_out_of_memory
from csrdata.policy.one_by_one import CachedPasses, PlainPasses, plain_logits
from csrdata.policy.passes import Node, Passes, SharedPasses
from csrdata.policy.prefill import extended
from csrdata.policy.static_passes import StaticPasses, has_kept_passes, kept_passes

_LOGGER = logging.getLogger(__name__)
_TOLERANCE = 1e-3
"""Largest difference, in nats, between the log-probabilities of a path and of plain passes in float32."""
_TOLERANCE_IN_HALF = 0.05
"""Largest total variation distance (0..1) in half precision, where unlikely tokens move by tenths of a nat."""
_FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError)
"""What a model raises whose forward takes or gives something else than a path expects."""
_WORDS = 200
"""Characters of an error's text that a reason quotes."""
_ROWS = 2
"""Rows of each prompt that are fed."""

Encode = Callable[[Sequence[int]], Mapping[str, Tensor]]
"""The processor's output for some prompts, by their numbers: `input_ids` and `attention_mask` [P, L], padded on the left."""


@dataclass(frozen=True)
class PathChoice:
    """The path that decoding takes."""

    kind: Literal["graphs", "shared", "cached", "plain"]
    reason: str
    """What was compared, or what speaks against the faster paths."""

    @property
    def together(self) -> bool:
        """Whether several prompts are decoded together."""
        return self.kind in ("graphs", "shared")

    def open(self, model: PreTrainedModel) -> Passes:
        """Return the passes of this path."""
        return _PASSES[self.kind](model)


_PASSES: Mapping[str, Callable[[PreTrainedModel], Passes]] = {
    "graphs": kept_passes,
    "shared": SharedPasses,
    "cached": CachedPasses,
    "plain": PlainPasses,
}


def passes_for(
    model: PreTrainedModel,
    encode: Encode,
    prompts: Sequence[int],
    *,
    at_once: int,
    answer_tokens: int,
    graphs: bool = False,
) -> Passes:
    """Return the passes of the fastest path; log which one, warn if it is not the shared one.

    Args:
        model, encode, prompts, at_once, answer_tokens, graphs: see `choose_path`.
    """
    choice = choose_path(model, encode, prompts, at_once=at_once, answer_tokens=answer_tokens, graphs=graphs)
    words = f"{type(model).__name__} takes the {choice.kind} path: {choice.reason}"
    if choice.together:
        _LOGGER.info(words)
    else:
        warnings.warn(words, stacklevel=2)
    return choice.open(model)


def prompts_to_compare(sizes: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[int]:
    """Return the numbers of a shard's prompts to compare on: the longest of each image size, and the shortest.

    Args:
        sizes: width and height of each prompt's image, in pixels.
        lengths: of each prompt, in tokens.

    Example: sizes 9x9 9x9 5x9, lengths 3 4 2 -> 1 2
    """
    longest: dict[tuple[int, int], int] = {}
    for index, size in enumerate(sizes):
        if size not in longest or lengths[index] > lengths[longest[size]]:
            longest[size] = index
    shortest = min(range(len(lengths)), key=lambda index: lengths[index])
    return sorted({*longest.values(), shortest})


@torch.inference_mode()
def choose_path(
    model: PreTrainedModel,
    encode: Encode,
    prompts: Sequence[int],
    *,
    at_once: int,
    answer_tokens: int,
    graphs: bool = False,
) -> PathChoice:
    """Return the fastest path that gives what a plain pass gives, on each of these prompts.

    Costs a few passes for each prompt whose image inputs have a shape of their own.

    Args:
        model: any image-text-to-text model.
        encode: gives the model's inputs of some prompts.
        prompts: their numbers, as `prompts_to_compare` gives them.
        at_once: the most prompts that are admitted together.
        answer_tokens: the most tokens of an answer.
        graphs: whether CUDA graphs are tried: for a search, whose steps of equal sizes are many.
    """
    expected = _expected(model, encode, prompts, answer_tokens=answer_tokens)
    compared = f"{len(expected) - 1} prompts and on {expected[-1].length} tokens with an answer"
    against = _against_sharing(model, encode, expected, at_once=at_once)
    if against is None:
        words = f"the log-probabilities of a full pass, on {compared}"
        if not graphs or model.device.type != "cuda":
            return PathChoice("shared", words)
        return _with_graphs(model, encode, expected, at_once=at_once, words=words)
    reason = f"no shared prefix: {against}"
    if (also := _against("cached", model, encode, expected, at_once=1)) is None:
        return PathChoice("cached", reason)
    return PathChoice("plain", f"{reason}; no copies of its cache: {also}")


def gap(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference between two sets of logits [N, V].

    In float32: of the log-probabilities of all tokens, in nats. In half precision: the total variation distance, 0..1.
    """
    one, other = actual.float().log_softmax(-1), expected.float().log_softmax(-1)
    if actual.dtype == torch.float32:
        return float((one - other).abs().max())
    return float((one.exp() - other.exp()).abs().sum(-1).max()) / 2


def near(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two sets of logits [N, V] are equal within the rounding error of their dtype."""
    return gap(actual, expected) <= (_TOLERANCE if actual.dtype == torch.float32 else _TOLERANCE_IN_HALF)


@dataclass(frozen=True)
class _Expected:
    """What a plain pass gives for one prompt."""

    prompt: int
    more: tuple[int, ...]
    """Tokens that are encoded with the prompt."""
    answer: tuple[int, int]
    """Two tokens of an answer behind them."""
    logits: Tensor
    """Of the token behind the answer, [1, V]."""
    length: int
    """Tokens of prompt, `more` and answer."""


def _expected(
    model: PreTrainedModel, encode: Encode, prompts: Sequence[int], *, answer_tokens: int
) -> list[_Expected]:
    """Return one for each shape of image inputs and for the shortest prompt; last, the longest with a long answer."""
    lengths: dict[int, int] = {}
    of_shape: dict[tuple[object, ...], int] = {}
    for number in prompts:
        inputs = encode([number])
        lengths[number] = inputs["input_ids"].shape[1]
        kept = of_shape.setdefault(_shape(inputs), number)
        if lengths[number] > lengths[kept]:
            of_shape[_shape(inputs)] = number
    longest, shortest = max(prompts, key=lengths.__getitem__), min(prompts, key=lengths.__getitem__)
    found = [
        _expect(model, encode([number]), number, tokens=2)
        for number in sorted({*of_shape.values(), longest, shortest})
    ]
    limit = (
        getattr(model.config.get_text_config(), "max_position_embeddings", None)
        or lengths[longest] + answer_tokens
    )
    tokens = max(2, min(answer_tokens, limit - lengths[longest]))
    return [*found, _expect(model, encode([longest]), longest, tokens=tokens)]


def _shape(inputs: Mapping[str, Tensor]) -> tuple[object, ...]:
    """Return what tells image inputs apart: their shapes, and the numbers that say how an image is laid out."""
    along = inputs["input_ids"].shape
    return tuple(
        (name, tuple(value.shape), None if value.is_floating_point() else tuple(value.flatten().tolist()))
        for name, value in sorted(inputs.items())
        if isinstance(value, Tensor) and value.shape[:2] != along
    )


def _expect(model: PreTrainedModel, inputs: Mapping[str, Tensor], number: int, *, tokens: int) -> _Expected:
    """Let a plain pass say what follows an answer of so many tokens; they are the prompt's own, from behind its image."""
    ids = inputs["input_ids"][0].tolist()
    images = [index for index, token in enumerate(ids) if token == model.config.image_token_id]
    text = ids[images[-1] + 1 :] if images and images[-1] + 1 < len(ids) else ids[-1:]
    filler = tuple(itertools.islice(itertools.cycle(text), tokens))
    logits = plain_logits(model, inputs, [filler])
    return _Expected(number, filler[:-2], (filler[-2], filler[-1]), logits, len(ids) + tokens)


def _with_graphs(
    model: PreTrainedModel, encode: Encode, expected: Sequence[_Expected], *, at_once: int, words: str
) -> PathChoice:
    """Return the shared path with CUDA graphs, or without where they fail.

    A model that takes them is tried once, in its first shard; where they fail, each shard tries again.
    """
    against = None
    if not has_kept_passes(model):
        against = _against("graphs", model, encode, expected, at_once=at_once)
    if against is not None:
        return PathChoice("shared", f"{words}; no CUDA graphs: {against}")
    return PathChoice("graphs", words)


def _against_sharing(
    model: PreTrainedModel, encode: Encode, expected: Sequence[_Expected], *, at_once: int
) -> str | None:
    """Return why the shared path cannot be taken, None if it can; the model's attention is then left switched."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"its layers are of the kind {', '.join(sorted(kinds))}"
    if not model._can_set_attn_implementation():  # noqa: SLF001 - no public one
        return "its attention does not go through transformers' interface"
    before = model.config._attn_implementation  # noqa: SLF001 - the same
    against = _against("shared", model, encode, expected, at_once=at_once)
    if against is not None:
        model.set_attn_implementation(before)
    return against


def _against(
    kind: str, model: PreTrainedModel, encode: Encode, expected: Sequence[_Expected], *, at_once: int
) -> str | None:
    """Return how a path differs from a plain pass or why it fails, None if it does neither."""
    short, long = expected[:-1], expected[-1]
    chunks = [short[start : start + at_once] for start in range(0, len(short), at_once)]
    try:
        for chunk in [*chunks, [long]]:
            for prompt, logits in zip(chunk, _logits(kind, model, encode, chunk), strict=True):
                full = prompt.logits.expand_as(logits)
                if not near(logits, full):
                    unit = "nats" if logits.dtype == torch.float32 else "of the probability"
                    return f"{gap(logits, full):.2g} {unit} from a full pass behind {prompt.length} tokens"
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {' '.join(str(error).split())[:_WORDS]}"
    return None


def _logits(
    kind: str, model: PreTrainedModel, encode: Encode, chunk: Sequence[_Expected]
) -> Iterator[Tensor]:
    """Yield each prompt's logits [3, V] behind its answer: in two rows that are fed, and where a sentence begins."""
    passes = StaticPasses(model) if kind == "graphs" else _PASSES[kind](model)
    numbers = [prompt.prompt for prompt in chunk]
    if passes.together and not any(prompt.more for prompt in chunk):
        passes.admit(numbers, encode(numbers))
    else:
        for prompt in chunk:
            passes.admit([prompt.prompt], extended(model, encode([prompt.prompt]), prompt.more))
    passes.begin([Node(number, (), None) for number in numbers], groups=_ROWS)
    passes.feed([prompt.answer[0] for prompt in chunk for _ in range(_ROWS)])
    fed = passes.feed([prompt.answer[1] for prompt in chunk for _ in range(_ROWS)])
    nodes = [Node(prompt.prompt, prompt.answer, _ROWS * index) for index, prompt in enumerate(chunk)]
    begun = passes.begin(nodes, groups=_ROWS)
    for index, logits in enumerate(begun):
        yield torch.cat([fed[_ROWS * index : _ROWS * (index + 1)], logits[None]])
