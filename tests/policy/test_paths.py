"""The path of each family, and that every step of it gives what encoding everything again gives.

The models are tiny and random: real classes with their real processors (`tests/families.py`). A shard has images of
unlike shape and prompts of unlike length, goes several sentences deep, and admits prompts while others are under way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature

from csrdata.policy.choosing import choose_path
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.one_by_one import CachedPasses, plain_logits
from csrdata.policy.passes import Node, Passes, SharedPasses
from csrdata.policy.prompting import banned_ids, encode, render_prompt
from csrdata.policy.proposing import DiverseGroups
from csrdata.records import NO_PARENT
from csrdata.search.beam import Branch
from tests.families import FAMILIES, gemma3, llava_next, unlike_pictures

TEXTS = [
    "Describe it.",
    "Is there a triangle? What do you see in this picture?",
    "Describe it now. Describe.",
]
ENTERS = [0, 0, 1]
"""The layer of the search at which each prompt comes in; it stays for three."""
SENTENCE, ANSWER = 5, 18
"""The most tokens."""
CLOSE = 1e-4
"""Nats."""

SHARED = [
    "llava",
    "llava_old",
    "llava_next",
    "llava_next_window",
    "llava_onevision",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "idefics3",
    "idefics3_whole",
    "smolvlm",
    "internvl",
    "internvl_whole",
    "paligemma_template",
    "gemma3",
    "gemma3_window",
    "pixtral",
    "mistral3",
    "glm4v",
]
CACHED = ["mllama"]


@dataclass(frozen=True)
class Shard:
    """A policy and the prompts that it answers."""

    policy: Policy
    images: Sequence[Image.Image]
    rendered: Sequence[str]

    def encode(self, numbers: Sequence[int]) -> BatchFeature:
        return encode(
            self.policy.processor,
            [self.images[number] for number in numbers],
            [self.rendered[number] for number in numbers],
        ).to(self.policy.device, self.policy.model.dtype)


def shard(folder: Path, build: Callable[[Path], Path]) -> Shard:
    """Save a policy and three images of unlike shape, and load them."""
    policy = load_policy(build(folder / "policy"))
    paths = unlike_pictures(folder / "images", sizes=((160, 120), (90, 200), (300, 60)))
    return Shard(
        policy,
        [Image.open(path).convert("RGB") for path in paths],
        [render_prompt(policy.processor, text) for text in TEXTS],
    )


@pytest.fixture(scope="module", params=[*SHARED, *CACHED])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Shard]:
    """The name of a family and its shard."""
    if request.param == "smolvlm":
        pytest.importorskip("num2words")
    folder: Path = tmp_path_factory.mktemp(request.param)
    return request.param, shard(folder, FAMILIES[request.param])


@dataclass
class Watched:
    """Passes whose every step is held against a full pass over image, prompt and answer."""

    passes: Passes
    shard: Shard
    rows: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    compared: int = 0
    apart: float = 0.0
    """Nats, over all tokens of the vocabulary: the most that a step was off."""
    deepest: int = 0
    """Tokens of the longest answer that was compared."""

    @property
    def together(self) -> bool:
        return self.passes.together

    def admit(self, prompts: Sequence[int], inputs: Mapping[str, Tensor]) -> None:
        self.passes.admit(prompts, inputs)

    def begin(self, nodes: Sequence[Node], *, groups: int) -> Tensor:
        answers = [(node.prompt, node.tokens) for node in nodes]
        self.rows = [answer for answer in answers for _ in range(groups)]
        return self._elsewhere(self._compared(answers, self.passes.begin(nodes, groups=groups)))

    def keep(self, going: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in going]
        self.passes.keep(going)

    def feed(self, tokens: Sequence[int]) -> Tensor:
        self.rows = [(prompt, (*own, token)) for (prompt, own), token in zip(self.rows, tokens, strict=True)]
        return self._elsewhere(self._compared(self.rows, self.passes.feed(tokens)))

    def _compared(self, rows: Sequence[tuple[int, tuple[int, ...]]], found: Tensor) -> Tensor:
        for prompt in {owner for owner, _ in rows}:
            mine = [row for row, (owner, _) in enumerate(rows) if owner == prompt]
            expected = plain_logits(
                self.shard.policy.model, self.shard.encode([prompt]), [rows[row][1] for row in mine]
            )
            off = found[mine].log_softmax(-1) - expected.log_softmax(-1)
            self.apart = max(self.apart, float(off.abs().max()))
            self.compared += len(mine)
        self.deepest = max([self.deepest, *(len(tokens) for _, tokens in rows)])
        return found

    def _elsewhere(self, logits: Tensor) -> Tensor:
        """Return logits that lead to other tokens: a random model may say one token for ever."""
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(self.compared))
        return logits + 30 * noise


def decoded(shard: Shard, passes: type[Passes]) -> Watched:
    """Decode two answers to each prompt, three sentences deep, over random tokens; prompts come and go at `ENTERS`."""
    policy = shard.policy
    watched = Watched(passes(policy.model), shard)  # type: ignore[call-arg]
    decoder = SentenceDecoder(
        watched,
        policy.tokenizer,
        prompt_ids=[str(number) for number in range(len(ENTERS))],
        proposing=DiverseGroups(3, 1.0),
        max_sentence_tokens=SENTENCE,
        max_response_tokens=ANSWER,
        end_ids=[],
        banned_ids=banned_ids(policy.model, policy.processor),
    )

    live: list[Branch] = []
    for layer in range(max(ENTERS) + 3):
        entering = [prompt for prompt, when in enumerate(ENTERS) if when == layer]
        for batch in [entering] if watched.together and entering else [[prompt] for prompt in entering]:
            decoder.admit(batch, shard.encode(batch))
        live += [Branch(prompt, NO_PARENT, 0, 0, 0.0, None) for prompt in entering]
        live = [
            Branch(branch.prompt, 0, branch.depth + 1, 0, 0.0, proposal.state)
            for branch, proposals in zip(live, decoder.propose(live), strict=True)
            if branch.depth < 2
            for proposal in (proposals[1:] if branch.depth == 0 else proposals[:1])
        ]
    return watched


def hold(watched: Watched, *, steps: int) -> None:
    """Hold the search against full passes."""
    assert watched.compared > steps
    assert watched.deepest > 2 * SENTENCE
    assert watched.apart < CLOSE


def test_the_path_of_each_family(family: tuple[str, Shard]) -> None:
    """The table of families: all but those with cross-attention share a prefix."""
    name, shard = family
    choice = choose_path(shard.policy.model, shard.encode, range(len(TEXTS)), at_once=2, answer_tokens=ANSWER)
    assert choice.kind == ("shared" if name in SHARED else "cached"), choice.reason


def test_each_step_is_that_of_a_full_pass(family: tuple[str, Shard]) -> None:
    """Every row of every step, over all tokens, within 1e-4 nats, on the family's own path."""
    name, shard = family
    hold(decoded(shard, SharedPasses if name in SHARED else CachedPasses), steps=70)


@pytest.mark.parametrize(
    "name", ["llava", "qwen2_5_vl", "gemma3_window", "llava_next_window", "paligemma_template"]
)
def test_a_cache_inside_a_sentence_is_exact_too(tmp_path: Path, name: str) -> None:
    """The cached path is right where the shared one is, windows and positions included."""
    hold(decoded(shard(tmp_path, FAMILIES[name]), CachedPasses), steps=70)


@pytest.mark.parametrize("build", [llava_next, gemma3])
@pytest.mark.parametrize("beyond", [3, 12])
def test_windows_end_inside_an_answer(tmp_path: Path, build: Callable[..., Path], beyond: int) -> None:
    """A window that the prompt fits into, and the answer does not: tokens leave it one by one, at each depth."""
    longest = max(
        len(ids[0])
        for fitting in [shard(tmp_path / "fitting", build)]
        for number in range(len(TEXTS))
        for ids in [fitting.encode([number])["input_ids"]]
    )
    narrow = shard(tmp_path, lambda folder: build(folder, window=longest + beyond))
    assert choose_path(
        narrow.policy.model, narrow.encode, range(len(TEXTS)), at_once=2, answer_tokens=ANSWER
    ).kind == "shared"  # fmt: skip
    hold(decoded(narrow, SharedPasses), steps=70)


@pytest.mark.parametrize("name", ["llava_next_window", "gemma3_window"])
def test_windows_shorter_than_a_sentence(tmp_path: Path, name: str) -> None:
    """A window of five tokens hides the prompt, the answer before, and a part of the sentence."""
    build: Any = {"llava_next_window": llava_next, "gemma3_window": gemma3}[name]
    hold(decoded(shard(tmp_path, lambda folder: build(folder, window=5)), SharedPasses), steps=70)


def test_a_full_pass_is_what_transformers_generates(family: tuple[str, Shard]) -> None:
    """What all paths are held against has the logits of `generate`, token by token."""
    _, shard = family
    model: Any = shard.policy.model
    for number in range(2):
        inputs = shard.encode([number])
        inputs.pop("labels", None)
        length = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            generated = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=4,
                eos_token_id=None,
                suppress_tokens=[
                    id_
                    for id_ in banned_ids(model, shard.policy.processor)
                    if id_ < model.lm_head.out_features
                ],
                output_logits=True,
                return_dict_in_generate=True,
            )
        tokens = generated.sequences[0, length:].tolist()
        found = plain_logits(model, inputs, [tuple(tokens[:count]) for count in range(len(tokens))])
        expected = torch.cat(generated.logits)
        assert float((found.log_softmax(-1) - expected.log_softmax(-1)).abs().max()) < CLOSE
