"""Decoding with static shapes: the logits of the shared path, prefixes of unlike length, and steps that can be captured.

There is no GPU here. `Tape` takes the place of a CUDA graph: it records the operators of a size's first step and repeats them on
the same tensors for every later step of that size, so that a step which reads another place gives wrong logits.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from csrdata.checking.estimate import shape_of
from csrdata.checking.memory_plan import plan_search
from csrdata.policy import choosing
from csrdata.policy.buckets import pages, prompts_in_use, rows_fed
from csrdata.policy.choosing import choose_path
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.graphs import Direct, Runner
from csrdata.policy.loading import load_policy
from csrdata.policy.passes import Node, Passes, SharedPasses
from csrdata.policy.prompting import banned_ids, encode, end_ids, render_prompt
from csrdata.policy.proposing import DiverseGroups
from csrdata.policy.static_passes import StaticPasses, forget_passes, has_kept_passes, kept_passes
from csrdata.records import NO_PARENT, Stop
from csrdata.search.beam import Branch
from tests.families import FAMILIES, llava_next, unlike_pictures

TEXTS = [
    "Describe it.",
    "Is there a triangle? What do you see in this picture?",
    "Describe it now.",
    "Describe it now. " * 12,
]
ENTERS = [0, 0, 1, 4]
"""The depth at which each prompt enters; the fourth is longer than all places before it."""
DEPTHS = 7
ON_THE_HOST = {"_local_scalar_dense", "nonzero", "is_nonzero", "lift_fresh", "equal"}
"""Operators that read or write the host's memory: none of them can be captured."""


class Tape(TorchDispatchMode):
    """A runner that records the operators of the first step of each key, and repeats them in the same places."""

    def __init__(self) -> None:
        super().__init__()
        self.tapes: dict[Hashable, list[tuple[Any, Any, Any, Any]]] = {}
        self.recording: list[tuple[Any, Any, Any, Any]] = []
        self.replayed = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in ON_THE_HOST, func
        found = func(*args, **(kwargs or {}))
        self.recording.append((func, args, kwargs or {}, found))
        return found

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        if key not in self.tapes:
            self.recording = []
            with self:
                step()
            self.tapes[key] = self.recording
        else:
            self.replayed += 1
        for func, args, kwargs, found in self.tapes[key]:
            again = func(*args, **kwargs)
            for place, value in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                    place.copy_(value)

    def clear(self) -> None:
        self.tapes.clear()


class Both:
    """The shared path and the static one, step by step: their log-probabilities must not differ."""

    together = True

    def __init__(self, model: Any, runner: Runner) -> None:
        self.eager, self.static = SharedPasses(model), StaticPasses(model, runner=runner)
        self.steps, self.apart, self.rows = 0, 0.0, set[int]()

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        self.eager.admit(prompts, inputs)
        self.static.admit(prompts, inputs)

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        return self._same(self.eager.begin(nodes, groups=groups), self.static.begin(nodes, groups=groups))

    def keep(self, going: Sequence[int]) -> None:
        self.eager.keep(going)
        self.static.keep(going)

    def feed(self, tokens: Sequence[int]) -> Tensor:
        self.rows.add(len(tokens))
        return self._same(self.eager.feed(tokens), self.static.feed(tokens))

    def _same(self, eager: Tensor, static: Tensor) -> Tensor:
        assert torch.equal(eager.argmax(-1), static.argmax(-1))
        self.apart = max(self.apart, float((eager.log_softmax(-1) - static.log_softmax(-1)).abs().max()))
        self.steps += 1
        # A random model may say one token for ever.
        noise = torch.randn(eager.shape, generator=torch.Generator().manual_seed(self.steps))
        return eager + 20 * noise


def search(
    passes: Passes, folder: Path, policy: Any, texts: Sequence[str] = TEXTS
) -> list[list[tuple[int, ...]]]:
    """Decode several depths of three prompts that enter one after the other; return the tokens of every proposal."""
    images = [
        Image.open(path).convert("RGB")
        for path in unlike_pictures(folder, ((160, 120), (90, 200), (300, 60)))
    ]
    texts = [texts[prompt % len(texts)] for prompt in range(len(ENTERS))]
    decoder = SentenceDecoder(
        passes,
        policy.tokenizer,
        prompt_ids=[str(number) for number in range(len(ENTERS))],
        proposing=DiverseGroups(3, 1.0),
        max_sentence_tokens=19,
        max_response_tokens=45,
        end_ids=end_ids(policy.model, policy.processor),
        banned_ids=banned_ids(policy.model, policy.processor),
    )
    live: list[Branch] = []
    found = []
    for depth in range(DEPTHS):
        entering = [prompt for prompt, when in enumerate(ENTERS) if when == depth]
        if entering:
            rendered = [render_prompt(policy.processor, texts[prompt]) for prompt in entering]
            own = [images[prompt % len(images)] for prompt in entering]
            decoder.admit(entering, encode(policy.processor, own, rendered))
        live += [Branch(prompt, NO_PARENT, 0, 0, 0.0, None) for prompt in entering]
        if not live:
            continue
        proposed = decoder.propose(live)
        found += [[each.token_ids for each in proposals] for proposals in proposed]
        live = [
            Branch(branch.prompt, 0, branch.depth + 1, 0, 0.0, each.state)
            for branch, proposals in zip(live, proposed, strict=True)
            for each in [one for one in proposals if one.stop in (Stop.SENTENCE_END, Stop.SENTENCE_LIMIT)][
                : 2 if branch.depth == 0 else 1
            ]
        ]
    return found


@pytest.mark.parametrize("runner", [Direct, Tape])
@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_static_steps_are_those_of_the_shared_path(tmp_path: Path, name: str, runner: type[Any]) -> None:
    """Every step within 1e-5 nats, directly and repeated: prompts of unlike length that come and go, rows that end apart."""
    policy = load_policy(FAMILIES[name](tmp_path / "policy"))
    both = Both(policy.model, runner())
    search(both, tmp_path / "images", policy)
    assert both.steps > 40
    assert len(both.rows) > 5
    assert both.apart < 1e-5
    assert both.static.pool.capacity == 3  # the fourth prompt takes the place of one that has ended
    if isinstance(both.static.runner, Tape):
        assert both.static.runner.replayed > both.steps / 4


def test_the_same_sentences(tmp_path: Path) -> None:
    """Without noise: a search with static shapes proposes the sentences of the shared path, token for token."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "policy"))
    one = search(SharedPasses(policy.model), tmp_path / "images", policy)
    other = search(StaticPasses(policy.model), tmp_path / "images", policy)
    assert one == other


class Keyed(Tape):
    """A tape that also remembers the sizes of each step, in order, and when its tapes were cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[Hashable] = []
        self.cleared: list[int] = []
        """The numbers of steps before which places moved."""

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        self.keys.append(key)
        super().run(key, step)

    def clear(self) -> None:
        self.cleared.append(len(self.keys))
        super().clear()


def test_the_next_shard_replays_the_graphs_of_the_first(tmp_path: Path) -> None:
    """Passes are kept for a model; the next shard has the sizes of a fresh start, records little again, and the same tokens."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "policy"))
    assert not has_kept_passes(policy.model)
    passes, runner = kept_passes(policy.model), Keyed()
    passes.runner = runner
    first = search(passes, tmp_path / "images", policy, TEXTS[:2])
    keys, cleared = runner.keys, list(runner.cleared)
    runner.keys, runner.replayed = [], 0
    again = kept_passes(policy.model)
    assert again is passes
    assert search(again, tmp_path / "images", policy, TEXTS[:2]) == first
    assert runner.keys == keys
    # Only what the first shard recorded before its last prompt got a place is recorded again.
    assert runner.cleared == cleared
    assert len(keys) - runner.replayed <= len(set(keys[: cleared[-1]]))
    assert runner.replayed > len(keys) / 2
    forget_passes(policy.model)
    assert kept_passes(policy.model) is not passes


def test_half_precision(tmp_path: Path) -> None:
    """In bfloat16 the static steps are as near to a full pass as the shared path must be."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "policy"), dtype="bfloat16")
    images = [Image.open(path).convert("RGB") for path in unlike_pictures(tmp_path / "images")]
    assert against(policy, images) is None


def test_a_window_is_refused(tmp_path: Path) -> None:
    """A model with sliding windows keeps to the shared path, and the reason says why."""
    policy = load_policy(llava_next(tmp_path / "policy", window=24))
    images = [Image.open(path).convert("RGB") for path in unlike_pictures(tmp_path / "images")]
    assert "a layer with a sliding window" in str(against(policy, images))


def against(policy: Any, images: Sequence[Image.Image]) -> str | None:
    """Return what speaks against static shapes for a policy, as `choose_path` finds it on a GPU."""
    rendered = [render_prompt(policy.processor, text) for text in TEXTS[:2]]

    def encoded(numbers: Sequence[int]) -> Any:
        own = [images[number] for number in numbers]
        return encode(policy.processor, own, [rendered[n] for n in numbers]).to(policy.model.dtype)

    assert choose_path(policy.model, encoded, [0, 1], at_once=2, answer_tokens=40).kind == "shared"
    expected = choosing._expected(policy.model, encoded, [0, 1], answer_tokens=40)
    return choosing._against("graphs", policy.model, encoded, expected, at_once=2)


def test_torch_allocates_what_the_plan_says(tmp_path: Path) -> None:
    """The keys and values of prompts and of answers in flight have the plan's bytes."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "policy"))
    passes = StaticPasses(policy.model)
    images = [Image.new("RGB", (60, 60), colour) for colour in ("red", "blue")]
    rendered = [render_prompt(policy.processor, TEXTS[0])] * 2
    inputs = encode(policy.processor, images, rendered)
    passes.admit([0, 1], inputs)
    groups, tokens = 3, 20
    passes.begin([Node(0, (), None), Node(1, (), None)], groups=groups)
    for token in range(tokens):
        passes.feed([5 + token] * 2 * groups)
    answers = tuple(range(5, 5 + tokens))
    nodes = [Node(prompt, answers, row) for prompt in (0, 1) for row in (3 * prompt, 3 * prompt + 1)]
    passes.begin(nodes, groups=groups)
    for token in range(tokens):
        passes.feed([5 + token] * 4 * groups)
    plan = plan_search(
        shape_of(policy.model),
        available=0,
        prompt_tokens=inputs["input_ids"].shape[1],
        keep=2,
        candidates=groups,
        answer_tokens=2 * tokens,
        sentence_tokens=tokens,
        accelerator=True,
        graphs=True,
    )
    assert passes.pool.bytes() == 2 * plan.each["prompts"]
    own = sum(page.bytes() for page in passes.pages)
    assert (
        own + own // 2 == 2 * plan.each["answers"]
    )  # with a copy of one of the two layers while answers move


def test_sizes_are_few() -> None:
    """At most an eighth more rows than needed are computed above 8; prompts halve; pages hold all slots."""
    assert [rows_fed(rows, 1000) for rows in (1, 7, 8, 9, 33, 70, 999)] == [1, 7, 8, 10, 40, 80, 1000]
    assert rows_fed(999, 999) == 999
    for rows in range(9, 3000):
        assert rows <= rows_fed(rows, 10**6) <= 1.25 * rows
    assert len({rows_fed(rows, 1600) for rows in range(1, 1601)}) < 50
    assert [prompts_in_use(live, 20) for live in (20, 11, 10, 3, 1)] == [20, 20, 10, 3, 1]
    assert (pages(0, 5), pages(80, 5), pages(81, 5)) == (0, 1, 2)


def test_depths_need_a_prompt(tmp_path: Path) -> None:
    """`begin` before `admit`, and `feed` before `begin`, raise."""
    policy = load_policy(FAMILIES["llava"](tmp_path / "policy"))
    with pytest.raises(ValueError, match="no prompt has been admitted"):
        StaticPasses(policy.model).begin([Node(0, (), None)], groups=2)
    with pytest.raises(ValueError, match="no depth has begun"):
        StaticPasses(policy.model).feed([5])
