"""Out of memory inside a shard: fewer prompts in flight, the same rows, and an entry of the manifest that says so."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from csrdata.engines.base import Worker
from csrdata.engines.local import LocalEngine
from csrdata.engines.runlog import RunLog
from csrdata.errors import UserError
from csrdata.generation.clock import Clock
from csrdata.generation.generating import generate
from csrdata.generation.in_flight import InFlight, halving
from csrdata.policy.choosing import choose_path
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.memory import is_out_of_memory
from csrdata.policy.prompting import encode
from csrdata.policy.proposing import DiverseGroups
from csrdata.records import Prompt, Sentence
from csrdata.storage.shard_manifest import load_manifest
from csrdata.storage.tables import ShardStore
from tests.extending.word_scorer import SCORER
from tests.tiny import picture, pictures, tiny_llava

PROMPTS = [Prompt(f"p{index}", f"images/{index}.png", "Describe the image.") for index in range(4)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tiny_llava(tmp_path / "policy")
    pictures(tmp_path / "images", len(PROMPTS))
    return tmp_path


def search(prompts: Sequence[Prompt], *, root: Path, policy: Policy, at_once: int, in_flight: InFlight) -> list[Sentence]:  # fmt: skip
    return generate(
        prompts,
        root=root,
        policy=policy,
        scorer=SCORER,
        proposing=DiverseGroups(2, 1.0),
        keep_best=1,
        keep_worst=1,
        rank_by="sentence",
        max_sentence_tokens=5,
        max_response_tokens=12,
        max_sentences=2,
        prompts_at_once=at_once,
        guidance="reward",
        image_weight=0.9,
        scale="zscore",
        repetition_threshold=None,
        clock=Clock(),
        in_flight=in_flight,
    )


def limit(policy: Policy, *, images: int, error: Exception) -> None:
    """Let the vision tower raise for more images at a time."""

    def refuse(_: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        pixels = named.get("pixel_values", *arguments[:1])
        if len(pixels) > images:
            raise error

    policy.model.model.vision_tower.register_forward_pre_hook(refuse, with_kwargs=True)


def test_a_shard_goes_on_with_half(root: Path) -> None:
    """A model that takes one prompt at a time makes the shard of four with 4, 2 and 1 in flight: the same sentences."""
    policy, used = load_policy(root / "policy"), InFlight()
    whole = search(PROMPTS, root=root, policy=policy, at_once=4, in_flight=used)
    assert used.take() == ()
    limit(policy, images=1, error=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."))
    with pytest.warns(UserWarning, match="no memory left with . prompts in flight: 4 of 4 prompts") as said:
        halved = search(PROMPTS, root=root, policy=policy, at_once=4, in_flight=used)
    ours = [one for one in said if "no memory left" in str(one.message)]
    assert [str(one.message).split("`")[1] for one in ours] == ["prompts_at_once: 2", "prompts_at_once: 1"]
    assert used.take() == (4, 2, 1)
    assert [(row.prompt_id, row.node_id, row.text) for row in halved] == [
        (row.prompt_id, row.node_id, row.text) for row in whole
    ]
    assert [row.logprob for row in halved] == pytest.approx([row.logprob for row in whole], abs=1e-4)


def test_one_prompt_without_memory_is_one_line(root: Path) -> None:
    """With one prompt in flight, the error says so and names the next command."""
    policy = load_policy(root / "policy")
    limit(policy, images=0, error=RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"))
    with pytest.raises(
        UserError, match="no memory left with 1 prompt in flight: DefaultCPUAllocator"
    ) as raised:
        search(PROMPTS[:1], root=root, policy=policy, at_once=4, in_flight=InFlight())
    assert "\n" not in str(raised.value)
    assert "csrdata check" in raised.value.do


def test_finished_items_are_kept() -> None:
    """What was finished before memory ran out is not computed again; another error is raised as it is."""
    tried: list[tuple[list[int], int]] = []

    def attempt(left: Sequence[int], at_once: int) -> Iterator[tuple[int, str]]:
        tried.append((list(left), at_once))
        yield 0, f"first of {at_once}"
        if at_once > 2:
            raise torch.OutOfMemoryError("none left")
        yield from ((place, f"of {at_once}") for place in range(1, len(left)))

    used = InFlight()
    with pytest.warns(UserWarning, match="no memory left with 4 prompts in flight: 4 of 5"):
        found = halving(5, attempt, at_once=5, used=used)
    assert tried == [([0, 1, 2, 3, 4], 5), ([1, 2, 3, 4], 2)]
    assert found == ["first of 5", "first of 2", "of 2", "of 2", "of 2"]
    assert used.take() == (5, 2)

    def late(left: Sequence[int], _: int) -> Iterator[tuple[int, str]]:
        yield from ((place, "done") for place in range(len(left)))
        raise torch.OutOfMemoryError("none left")

    assert halving(2, late, at_once=2, used=used) == ["done", "done"]
    assert used.take() == ()

    def broken(_: Sequence[int], __: int) -> Iterator[tuple[int, str]]:
        raise RuntimeError("shapes do not match")
        yield

    with pytest.raises(RuntimeError, match="shapes do not match"):
        halving(5, broken, at_once=5, used=used)


def test_out_of_memory_is_told_apart() -> None:
    """The CPU's allocator raises a RuntimeError with a known text; a wrong shape is another error."""
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(10**15)
    assert is_out_of_memory(too_large.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError, match="capture") as later:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("the capture was invalidated")
    assert is_out_of_memory(later.value)
    with pytest.raises(RuntimeError) as unlike:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(unlike.value)


def test_no_memory_is_no_reason_for_a_slower_path(root: Path) -> None:
    """Where memory runs out while the paths are compared, the error is raised: the slower paths are not taken for it."""
    policy = load_policy(root / "policy")
    texts = [policy.prompt(text) for text in ("Describe the image.", "Describe.")]
    limit(policy, images=1, error=RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        choose_path(
            policy.model,
            lambda numbers: encode(
                policy.processor, [picture(n) for n in numbers], [texts[n] for n in numbers]
            ),
            [0, 1],
            at_once=2,
            answer_tokens=8,
        )


def open_worker(root: Path, number: int) -> Worker:
    policy, in_flight = load_policy(root / "policy"), InFlight()
    limit(policy, images=2, error=torch.OutOfMemoryError("none left"))

    def make(prompts: Sequence[Prompt]) -> list[Sentence]:
        at_once = 3 if prompts[0].prompt_id == "p0" else 1
        return search(prompts, root=root, policy=policy, at_once=at_once, in_flight=in_flight)

    return Worker(make, in_flight=in_flight)


@pytest.mark.filterwarnings("ignore:no memory left")
def test_the_manifest_says_what_was_used(root: Path) -> None:
    """A shard whose memory ran out has the numbers in its entry, the other shard has not; both are kept by the next run."""

    def store() -> ShardStore:
        return ShardStore(root / "candidates", Sentence, fingerprint={"run": "a"}, shards=2)

    def refuse(_: int) -> Worker:
        raise AssertionError("no shard is missing")

    plan = [PROMPTS[:3], PROMPTS[3:]]
    more: dict[str, Any] = {"title": "t", "unit": "prompt", "log": RunLog(root / "log.jsonl")}
    LocalEngine(1).run(store(), plan, lambda number: open_worker(root, number), **more)
    files = json.loads((root / "candidates/manifest.json").read_text(encoding="utf-8"))["files"]
    assert files["00000.parquet"]["prompts_at_once"] == [3, 1]
    assert "prompts_at_once" not in files["00001.parquet"]
    before = (root / "candidates/manifest.json").read_bytes()
    assert store().missing() == []
    LocalEngine(1).run(store(), plan, refuse, **more)
    assert (root / "candidates/manifest.json").read_bytes() == before


@pytest.mark.parametrize("used", ["[2.5]", "[0]", '"64"', "[true]"])
def test_a_damaged_entry_is_no_manifest(tmp_path: Path, used: str) -> None:
    """Numbers that are none make the manifest unreadable, as any other damage."""
    entry = f'{{"rows": 1, "sha256": "{"a" * 64}", "prompts_at_once": {used}}}'
    text = f'{{"fingerprint": {{}}, "shards": 1, "files": {{"00000.parquet": {entry}}}}}'
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    assert load_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text(text.replace(used, "[64, 32]"), encoding="utf-8")
    found = load_manifest(tmp_path)
    assert found is not None
    assert found.files["00000.parquet"].prompts_at_once == (64, 32)
