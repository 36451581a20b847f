"""The memory plan of a search: hand-computed sizes of two 7B models, and the bytes that torch allocates for caches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.shapes import SHAPES
from csrdata.checking.budget import check_generation_memory
from csrdata.checking.estimate import Shape, shape_of
from csrdata.checking.findings import Level
from csrdata.checking.memory_plan import MemoryPlan, own_slots, plan_search
from csrdata.policy.loading import load_policy
from csrdata.policy.passes import SharedPasses
from csrdata.policy.prompting import encode, render_prompt
from tests.tiny import picture, tiny_llava

H200 = 141 * 10**9
H100 = 80 * 10**9
SEARCH: dict[str, Any] = {"keep": 5, "candidates": 5, "answer_tokens": 200, "sentence_tokens": 25}


def shape(name: str) -> Shape:
    with torch.device("meta"):
        model = SHAPES[name].model(SHAPES[name].config())
    return shape_of(model, bytes_per_number=2)


@pytest.mark.parametrize(
    ("name", "parameters", "token"),
    [
        ("llava-1.5-7b", 7_063_427_072, 32 * 2 * 32 * 128 * 2),
        ("qwen2.5-vl-7b", 8_292_166_656, 28 * 2 * 4 * 128 * 2),
    ],
)
def test_shapes_of_7b_models(name: str, parameters: int, token: int) -> None:
    """Parameters are those of the published models; a token has keys and values of all heads of all layers, in 2 bytes."""
    found = shape(name)
    assert (found.parameters, found.weights, found.cache) == (parameters, 2 * parameters, token)


def test_a_plan_of_llava_by_hand() -> None:
    """LLaVA-1.5-7B with static shapes on an H200: 0.5 MiB per token, 1.5 GB per prompt, 79 prompts in flight."""
    token = 524_288
    plan = plan_search(
        shape("llava-1.5-7b"), available=H200, prompt_tokens=616, accelerator=True, graphs=True, **SEARCH
    )
    answers = 5 * 400 * token  # 175 tokens before: 3 pages of 80 slots; 26 tokens of 5 groups: 2 pages
    assert plan.fixed == {"weights": 2 * 7_063_427_072, "reserve": 7_050_000_000}
    assert plan.each == {
        "prompts": 640 * token,
        "answers": answers + answers // 32,
        "logits": 25 * 32_064 * (3 * 2 + 3 * 4),
        "activations": 616 * (4 * 4096 + 3 * 11_008) * 2,
        "workspace": 25 * 32 * (640 + 400) * 10,
    }
    assert sum(plan.each.values()) == 1_500_507_776
    assert plan.fits == (H200 - 7_050_000_000 - 14_126_854_144) // 1_500_507_776 == 79
    assert plan.needs(79) <= H200 < plan.needs(80)
    h100 = plan_search(
        shape("llava-1.5-7b"), available=H100, prompt_tokens=616, accelerator=True, graphs=True, **SEARCH
    )
    assert h100.fits == 41


def test_a_plan_of_qwen_by_hand() -> None:
    """Qwen2.5-VL-7B keeps 4 of 28 heads: a ninth of LLaVA's bytes per token; its logits count more than its prompts."""
    token = 57_344
    plan = plan_search(
        shape("qwen2.5-vl-7b"), available=H200, prompt_tokens=420, accelerator=True, graphs=True, **SEARCH
    )
    assert plan.each["prompts"] == 448 * token
    assert plan.each["answers"] == 5 * 400 * token + 5 * 400 * token // 28
    assert plan.each["logits"] == 25 * 152_064 * 18 > plan.each["prompts"]
    assert sum(plan.each.values()) == 278_620_032
    assert plan.fits == 421
    h100 = plan_search(
        shape("qwen2.5-vl-7b"), available=H100, prompt_tokens=420, accelerator=True, graphs=True, **SEARCH
    )
    assert h100.fits == 213


def test_prompts_are_stored_once(tmp_path: Path) -> None:
    """The keys and values that torch holds for prompts are the plan's, once per prompt, whatever continues them."""
    policy = load_policy(tiny_llava(tmp_path))
    rendered = render_prompt(policy.processor, "Describe the image.")
    inputs = encode(policy.processor, [picture(0), picture(1)], [rendered] * 2)
    passes = SharedPasses(policy.model)
    passes.admit([0, 1], inputs)
    assert passes.prefix is not None
    tokens = inputs["input_ids"].shape[1]
    plan = plan_search(
        shape_of(policy.model), available=0, prompt_tokens=tokens, accelerator=False, graphs=False, **SEARCH
    )
    assert 2 * passes.prefix.bytes() == plan.parts(2)["prompts"]  # twice: once more while some of them leave


def test_slots_of_an_answer() -> None:
    """Whole pages hold the answer so far; others hold its last token, which is fed again, and the new sentences."""
    assert own_slots(0, 15, 5) == 80
    assert own_slots(1, 16, 5) == 80 + 160


def plan(each: int) -> MemoryPlan:
    return MemoryPlan(1000, {"weights": 100}, {"prompts": each})


def said(usual: int, most: int, *, at_once: int, useful: int = 64, accelerator: bool = True) -> Any:
    (found,) = check_generation_memory(
        plan(usual), plan(most), at_once=at_once, useful=useful, accelerator=accelerator
    )
    return found


def test_generation_that_does_not_fit() -> None:
    """Too much memory is an error, with the line for params.yaml; too much only at the limits of tokens is a warning."""
    found = said(30, 40, at_once=40)
    assert found.level is Level.ERROR
    assert found.words == (
        "generation takes about 1.3 kB (weights 100 bytes, prompts 1.2 kB), at most 1.7 kB at the token limits, of 1.0 kB; "
        "30 prompts in flight fit, 22 at the token limits"
    )
    assert found.do == (
        "write `prompts_at_once: 30` under generate_beams in params.yaml; shards of another number are made again; "
        "then: csrdata check"
    )
    warned = said(10, 40, at_once=40)
    assert warned.level is Level.WARNING
    assert "`prompts_at_once: 22`" in warned.do
    alone = said(2000, 2000, at_once=1)
    assert "`prompts_at_once: 1` under generate_beams in params.yaml, and lower the token limits" in alone.do
    (weights,) = check_generation_memory(
        MemoryPlan(50, {"weights": 100}, {}),
        MemoryPlan(50, {"weights": 100}, {}),
        at_once=1,
        useful=1,
        accelerator=True,
    )
    assert weights.do.startswith("set compute.dtype to bfloat16")


def test_far_too_few_prompts_in_flight() -> None:
    """On an accelerator, twice as many prompts or more that fit are proposed, no more than a shard has; a CPU gains nothing."""
    found = said(10, 20, at_once=4)
    assert (found.level, found.do.split(",")[0]) == (
        Level.WARNING,
        "write `prompts_at_once: 45` under generate_beams in params.yaml",
    )
    assert "`prompts_at_once: 16`" in said(10, 20, at_once=4, useful=16).do
    for enough in (
        said(10, 20, at_once=30),
        said(10, 20, at_once=16, useful=16),
        said(10, 20, at_once=4, accelerator=False),
    ):
        assert (enough.level, enough.do) == (Level.OK, None)
