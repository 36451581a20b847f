"""The estimates of memory and time, and what is said of them."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from csrdata.checking import estimate
from csrdata.checking.budget import check_time, check_training_memory
from csrdata.checking.findings import Level
from csrdata.checking.memory_plan import plan_search
from csrdata.checking.step_clock import StepClock
from csrdata.policy.loading import load_policy
from csrdata.policy.training import language_layers
from tests.tiny import tiny_llava

SHAPE = estimate.Shape(
    parameters=1000,
    layers=2,
    hidden=8,
    intermediate=16,
    heads=2,
    kv_numbers=8,
    vocabulary=100,
    adapter_per_rank=50,
    bytes_per_number=2,
)


def test_the_shape_of_a_model(tmp_path: Path) -> None:
    """The shape is read from the model: its parameters, keys and values, and the layers that an adapter is on."""
    import re

    model = load_policy(tiny_llava(tmp_path)).model
    shape = estimate.shape_of(model)
    assert shape.weights == sum(one.numel() * 4 for one in model.parameters())
    assert (shape.layers, shape.hidden, shape.kv_numbers) == (2, 64, 2 * 2 * 16)
    adapted = [one for name, one in model.named_modules() if re.fullmatch(language_layers(model), name)]
    assert shape.adapter(3) == 3 * sum(one.in_features + one.out_features for one in adapted)
    assert estimate.shape_of(model, bytes_per_number=2).weights == shape.weights // 2


def test_the_cache_grows_with_prompts_and_answers() -> None:
    """Keys and values are counted for each prompt once and copied once, and for each live answer and its sentences."""
    known: dict[str, Any] = {"available": 0, "accelerator": False, "graphs": False}
    lengths = {"prompt_tokens": 10, "keep": 3, "candidates": 2, "answer_tokens": 9, "sentence_tokens": 4}
    plan = plan_search(SHAPE, **known, **lengths)
    assert plan.each["prompts"] == 2 * 10 * (2 * 8 * 2)
    assert plan.each["answers"] == 3 * (2 * 5 + 2 * 4) * (2 * 8 * 2)
    assert plan.fixed == {"weights": 2000}
    assert plan.needs(2) - 2000 == 2 * (plan.needs(1) - 2000)


def test_checkpointing_keeps_one_layer() -> None:
    """With gradient checkpointing, a further layer costs its input alone; without, all that its backward pass needs."""
    deeper = estimate.Shape(**{name: getattr(SHAPE, name) for name in SHAPE.__slots__} | {"layers": 3})

    def layer(*, gradient_checkpointing: bool) -> int:
        few, more = (
            estimate.training_memory(
                shape,
                batch_size=1,
                sides=2,
                prompt_tokens=6,
                answer_tokens=4,
                lora_rank=2,
                gradient_checkpointing=gradient_checkpointing,
                keeps_attention=False,
            )["activations"]
            for shape in (SHAPE, deeper)
        )
        return more - few

    assert layer(gradient_checkpointing=True) == 2 * 10 * 8 * 2
    assert layer(gradient_checkpointing=False) > 10 * layer(gradient_checkpointing=True)


def test_a_cpu_keeps_the_matrices_of_attention() -> None:
    """On a CPU the backward pass keeps a row of attention for each token, head and layer."""
    known: Any = {
        "batch_size": 1,
        "sides": 2,
        "prompt_tokens": 6,
        "answer_tokens": 4,
        "lora_rank": 2,
        "gradient_checkpointing": False,
    }
    fused, kept = (
        estimate.training_memory(SHAPE, **known, keeps_attention=keeps)["activations"]
        for keeps in (False, True)
    )
    assert kept - fused == 20 * 2 * 3 * 2 * 10 * 4


def test_fine_tuning_reads_one_answer_of_a_pair() -> None:
    """Without the rejected answers, activations and logits take half as much."""
    known: Any = {
        "batch_size": 4,
        "prompt_tokens": 6,
        "answer_tokens": 4,
        "lora_rank": 2,
        "gradient_checkpointing": False,
        "keeps_attention": True,
    }
    one, both = (estimate.training_memory(SHAPE, **known, sides=sides) for sides in (1, 2))
    assert {name: both[name] / one[name] for name in one} == {
        "weights": 1.0,
        "adapter": 1.0,
        "activations": 2.0,
        "logits": 2.0,
    }


def test_the_time_of_a_group_has_a_fixed_part() -> None:
    """Twice the prompts take less than twice the time where two took less than twice the time of one."""
    pace = estimate.Pace(one=3.0, two=4.0, step=2.0, preflight=0.5)
    known = {"prompts": 10, "depth": 6, "tried_depth": 3}
    assert estimate.generation_seconds(pace, at_once=10, **known) == pytest.approx((2 + 10) * 2)
    assert estimate.generation_seconds(pace, at_once=1, **known) == pytest.approx((20 + 10) * 2)
    assert estimate.training_seconds(pace, pairs=10, epochs=3) == pytest.approx(5 + 60)


def test_training_that_does_not_fit() -> None:
    """Too large a batch names the one that fits, with the accumulation that keeps the step's pairs."""
    parts = {"weights": 100, "adapter": 100, "activations": 800, "logits": 0}
    (found,) = check_training_memory(parts, available=500, batch_size=16, accumulation=1)
    assert found.level is Level.ERROR
    assert found.do == "set train_dpo.batch_size to 6 or less and accumulation to 3, then: csrdata check"
    (found,) = check_training_memory(parts, available=201, batch_size=16, accumulation=1)
    assert "gradient checkpointing" in str(found.do)


def test_time_in_words() -> None:
    """The time of an iteration is said for the trial's depth and the deepest answers, with how far estimates were off."""
    alone = {"iterations": 3, "load": 0.9, "cores": 2}
    said, off = check_time(search=(7200, 28800), depths=(3, 12), training=600, **alone)
    assert said.words == (
        "one iteration: search 2.0 hours to 8.0 hours for answers of 3 to 12 sentences, training at most "
        "10.0 minutes; 3 iterations"
    )
    assert off.words == estimate.MEASURED
    none, _ = check_time(search=None, depths=(3, 12), training=600, **alone)
    assert none.words == "one iteration: no search, training at most 10.0 minutes; 3 iterations"
    assert none.level is Level.OK


def test_a_busy_machine_is_said() -> None:
    """Above half a process per core, the time is a warning: it was measured next to other work."""
    busy, _ = check_time(search=None, depths=(3, 12), training=600, iterations=1, load=1.1, cores=2)
    assert busy.line() == (
        "warning time: one iteration: no search, training at most 10.0 minutes; 1 iterations; tried with a load of 1.1 on "
        "2 cores by other work: alone it takes less. Next: for a closer estimate, without other work: csrdata check"
    )


class _Decoder(torch.nn.Module):
    """Takes long for its first call alone."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.calls = torch.nn.Linear(1, 1), 0

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01 if self.calls else 0.3)
        self.calls += 1
        return self.line(values)


def test_the_clock_times_the_warm_step() -> None:
    """The first pass takes 0.3 s, others 0.01: neither the step nor the preflight, which is cold, takes the first one."""
    model, value = _Decoder(), torch.ones(1, 1)
    optimiser = torch.optim.AdamW(model.parameters())
    with StepClock(model) as clock:
        model(value)  # the preflight
        for _ in range(2):
            model(value).sum().backward()
            optimiser.step()
    optimiser.step()  # after the clock is closed, nothing counts
    assert 0.01 <= clock.step < 0.2
    assert 0 < clock.preflight <= clock.step


def test_the_clock_without_a_preflight() -> None:
    """Fine-tuning on the chosen answers reads no references: the preflight takes no time."""
    model = _Decoder()
    optimiser = torch.optim.AdamW(model.parameters())
    with StepClock(model) as clock:
        for _ in range(2):
            model(torch.ones(1, 1)).sum().backward()
            optimiser.step()
    assert clock.preflight == 0
