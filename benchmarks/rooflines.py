"""What memory and matrix products of a device allow: both rates are measured in the same run, and a search's steps counted.

A step must read the weights of the language model, the keys and values of the prompts once each, and those of the live
answers. It must multiply every row by every weight, and attend. A step takes at least the longer of the two times.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from csrdata.policy.passes import Node, Passes


@dataclass(frozen=True)
class Rates:
    """What a device does at best."""

    bytes: float
    """Read per second."""
    products: float
    """Floating-point operations of matrix products per second."""


def now(device: str) -> float:
    """Return the time in seconds, after the device's pending work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def measure_rates(device: str, dtype: torch.dtype, *, large: bool) -> Rates:
    """Measure a copy and a product of square matrices; each is the best of several.

    Args:
        device, dtype: of the measurement.
        large: 1 GiB and a side of 8,192; else sizes for a test.
    """
    numbers, side = (2**29, 8192) if large else (2**20, 256)
    source = torch.ones(numbers, dtype=dtype, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size() / _fastest(lambda: target.copy_(source), device)
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    return Rates(copied, 2 * side**3 / _fastest(lambda: left @ right, device))


def _fastest(work: Callable[[], object], device: str, *, repeats: int = 10) -> float:
    found = []
    for _ in range(repeats):
        start = now(device)
        work()
        found.append(now(device) - start)
    return min(found[1:])


@dataclass(frozen=True)
class Costs:
    """What a token costs in a model."""

    weights: int
    """Numbers of the language model's matrices, the output layer's included."""
    cache: int
    """Bytes of the keys and values of a token."""
    attention: int
    """Operations of one row's attention to one token."""
    number: int
    """Bytes of a number."""


def costs_of(model: Any) -> Costs:
    """Return the costs of a model's decoder."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    matrices = [one.weight for one in model.get_decoder().modules() if isinstance(one, torch.nn.Linear)]
    number = model.dtype.itemsize
    return Costs(
        weights=sum(one.numel() for one in matrices) + model.get_output_embeddings().weight.numel(),
        cache=2 * config.num_hidden_layers * config.num_key_value_heads * size * number,
        attention=4 * config.num_hidden_layers * heads * size,
        number=number,
    )


@dataclass
class Counted:
    """Passes that add up their time, and the least time that the device allows for the same steps."""

    passes: Passes
    costs: Costs
    rates: Rates
    device: str
    prompt_tokens: int
    encoding: float = 0.0
    """Seconds of images and prompts."""
    decoding: float = 0.0
    """Seconds of the steps, without the choice of tokens."""
    steps: int = 0
    tokens: int = 0
    reading: float = 0.0
    """Seconds that reading takes at least."""
    multiplying: float = 0.0
    """Seconds that products take at least."""
    least: float = 0.0
    """Seconds that the steps take at least: of each step the longer of the two."""
    nodes: Sequence[Node] = field(default_factory=list)
    groups: int = 1
    said: int = 0
    together: bool = field(init=False)

    def __post_init__(self) -> None:
        self.together = self.passes.together

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        start = now(self.device)
        self.passes.admit(prompts, inputs)
        self.encoding += now(self.device) - start

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        self.nodes, self.groups, self.said = nodes, groups, 0
        start = now(self.device)
        logits = self.passes.begin(nodes, groups=groups)
        self.decoding += now(self.device) - start
        if going_on := sum(node.row is not None for node in nodes):
            self._count(going_on)
        return logits

    def keep(self, going: Sequence[int]) -> None:
        start = now(self.device)
        self.passes.keep(going)
        self.decoding += now(self.device) - start

    def feed(self, tokens: Sequence[int]) -> Tensor:
        start = now(self.device)
        logits = self.passes.feed(tokens)
        self.decoding += now(self.device) - start
        self.said += 1
        self._count(len(tokens))
        return logits

    def _count(self, rows: int) -> None:
        """Add the least time of a step with so many rows."""
        prompts = len({node.prompt for node in self.nodes})
        own = sum(len(node.tokens) + self.said * self.groups for node in self.nodes)
        seen = self.prompt_tokens + own / len(self.nodes) / self.groups
        read = (
            self.costs.weights * self.costs.number + (prompts * self.prompt_tokens + own) * self.costs.cache
        )
        multiplied = rows * (2 * self.costs.weights + seen * self.costs.attention)
        reading, multiplying = read / self.rates.bytes, multiplied / self.rates.products
        self.reading += reading
        self.multiplying += multiplying
        self.least += max(reading, multiplying)
        self.steps += 1
        self.tokens += rows
