"""How far the estimates of `csrdata check` are off: memory and time of generation and training at two sizes, on a CPU.

`python -m benchmarks.estimate` prints a table. Each row is a process of its own: its peak memory is that of the process,
less what it took before the policy was loaded. The estimate sees what `csrdata check` sees: the model's shape, and the
timing of one prompt and of two, and of the second of two steps of two pairs.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from csrdata.checking import estimate
from csrdata.checking.memory_plan import plan_search
from csrdata.records import Pair, Prompt, Sentence
from csrdata.relevance.base import Relevance

TOKENS, SENTENCES, PROMPTS, PAIRS, RANK, GROUPS, KEEP = 20, 4, 8, 8, 16, 5, 5
"""Of the runs: tokens of a sentence, sentences of an answer, prompts searched together, pairs, rank of the adapter."""
BATCH = 4


@dataclass(frozen=True)
class Size:
    """A LLaVA with random weights: 576 image tokens."""

    width: int
    layers: int
    vocabulary: int


SIZES = {"narrow": Size(256, 4, 8000), "wide": Size(512, 6, 16000)}


@dataclass(frozen=True)
class Row:
    """One run: what was estimated and what was measured."""

    bytes_estimated: int
    bytes_measured: int
    seconds_estimated: float
    seconds_measured: float


class Flat:
    """A scorer without a model: every text is as good as its length."""

    def open(self, images: Sequence[Image.Image]) -> "Flat":  # noqa: ARG002
        return self

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:  # noqa: ARG002
        return [Relevance(float(min(len(text), 100)), truncated=False) for text in texts]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:  # noqa: ARG002
        return [0.0] * len(texts)


def generation(size: Size, root: Path) -> Row:
    """Search `PROMPTS` prompts together."""
    policy = _policy(size, root)
    _search(policy, root, 1, sentences=1)  # what libraries build once is no part of the estimate
    shape = estimate.shape_of(policy.model)
    before = _resident() - shape.weights
    _reset_peak()
    one, two = (_search(policy, root, count, sentences=SENTENCES) for count in (1, 2))
    start = time.perf_counter()
    rows, _ = _search(policy, root, PROMPTS, sentences=SENTENCES)
    seconds = time.perf_counter() - start
    measured = _peak() - before
    longest = max(len(row.token_ids) for row in rows)
    plan = plan_search(
        shape,
        available=0,
        prompt_tokens=_prompt_tokens(policy, root),
        keep=KEEP,
        candidates=GROUPS,
        answer_tokens=SENTENCES * TOKENS,
        sentence_tokens=longest,
        accelerator=False,
        graphs=False,
    )
    pace = estimate.Pace(one[1], two[1], 0.0, 0.0)
    guessed = estimate.generation_seconds(
        pace, prompts=PROMPTS, at_once=PROMPTS, depth=SENTENCES, tried_depth=max(row.depth for row in two[0])
    )
    return Row(plan.needs(PROMPTS), measured, guessed, seconds)


def training(size: Size, root: Path, *, gradient_checkpointing: bool) -> Row:
    """Train one epoch of `PAIRS` pairs."""
    policy = _policy(size, root)
    prompt_tokens = _prompt_tokens(policy, root)
    shape = estimate.shape_of(policy.model)
    step, preflight, _ = _train(
        policy, root, pairs=2, batch=2, epochs=2, checkpointing=gradient_checkpointing
    )
    del policy
    gc.collect()
    policy = _policy(size, root)
    before = _resident() - shape.weights
    _reset_peak()
    _, _, seconds = _train(
        policy, root, pairs=PAIRS, batch=BATCH, epochs=1, checkpointing=gradient_checkpointing
    )
    measured = _peak() - before
    parts = estimate.training_memory(
        shape,
        batch_size=BATCH,
        sides=2,
        prompt_tokens=prompt_tokens,
        answer_tokens=SENTENCES * TOKENS,
        lora_rank=RANK,
        gradient_checkpointing=gradient_checkpointing,
        keeps_attention=True,
    )
    pace = estimate.Pace(0.0, 0.0, step, preflight)
    return Row(
        estimate.total(parts), measured, estimate.training_seconds(pace, pairs=PAIRS, epochs=1), seconds
    )


def _search(policy: Any, root: Path, count: int, *, sentences: int) -> tuple[list[Sentence], float]:
    from csrdata.generation.clock import Clock
    from csrdata.generation.generating import generate
    from csrdata.policy.proposing import DiverseGroups

    clock = Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = generate(
            [Prompt(f"p{index:03}", f"{index % 4}.png", "Describe this image.") for index in range(count)],
            root=root,
            policy=policy,
            scorer=Flat(),
            proposing=DiverseGroups(GROUPS, 1.0),
            keep_best=KEEP - 2,
            keep_worst=2,
            rank_by="sentence",
            max_sentence_tokens=TOKENS,
            max_response_tokens=SENTENCES * TOKENS,
            max_sentences=sentences,
            prompts_at_once=count,
            guidance="reward",
            image_weight=0.9,
            scale="zscore",
            repetition_threshold=None,
            clock=clock,
        )
    return rows, sum(clock.take().values())


def _train(
    policy: Any, root: Path, *, pairs: int, batch: int, epochs: int, checkpointing: bool
) -> tuple[float, float, float]:
    """Return the seconds per pair of the last step and of the preflight, and the seconds of all."""
    from csrdata.checking.step_clock import StepClock
    from csrdata.policy.training import train

    clock = StepClock(policy.model.get_decoder())
    words = [" ".join(["red blue green"] * (SENTENCES * TOKENS // 4)), "a " * (SENTENCES * TOKENS // 2)]
    with tempfile.TemporaryDirectory() as folder, clock:
        start = time.perf_counter()
        train(
            policy,
            [
                Pair(f"p{index}", f"{index % 4}.png", "Describe this image.", words[0], words[1], "made")
                for index in range(pairs)
            ],
            root=root,
            adapter_folder=Path(folder),
            loss="sigmoid",
            dpo_weight=1.0,
            label_smoothing=0.0,
            ld_alpha=None,
            margin="none",
            margin_scale=1.0,
            beta=0.1,
            sft_weight=0.0,
            learning_rate=1e-4,
            epochs=epochs,
            batch_size=batch,
            accumulation=1,
            warmup_share=0.0,
            lora_rank=RANK,
            lora_alpha=RANK,
            lora_dropout=0.0,
            reference_tolerance=1e-3,
            seed=0,
            progress=False,
            gradient_checkpointing=checkpointing,
        )
        seconds = time.perf_counter() - start
    return clock.step / batch, clock.preflight / pairs, seconds


def _policy(size: Size, root: Path) -> Any:
    from benchmarks.workloads import random_llava
    from csrdata.policy.loading import load_policy

    folder = root / "policy"
    if not folder.is_dir():
        random_llava(folder, width=size.width, layers=size.layers, vocabulary=size.vocabulary)
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 256, (336, 336, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"{index}.png")
    return load_policy(folder)


def _prompt_tokens(policy: Any, root: Path) -> int:
    from csrdata.policy.prompting import encode

    image = Image.open(root / "0.png")
    return int(
        encode(policy.processor, [image], [policy.prompt("Describe this image.")])["input_ids"].shape[1]
    )


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    """Return a figure of this process in bytes; Linux only."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def main() -> None:
    """Print the table, or run one row of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--row", nargs=2)
    row = parser.parse_args().row
    if row:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asdict(_row(row[0], row[1], Path(folder)))))
        return
    print("| run | size | memory, estimated | measured | ratio | seconds, estimated | measured | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for what in RUNS:
        for size in tqdm(SIZES, desc=what):
            command = [sys.executable, "-m", "benchmarks.estimate", "--row", what, size]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            found = Row(**json.loads(done.stdout.splitlines()[-1]))
            memory = f"{found.bytes_estimated / 1e6:.0f} MB | {found.bytes_measured / 1e6:.0f} MB"
            seconds = f"{found.seconds_estimated:.1f} | {found.seconds_measured:.1f}"
            ratios = (
                found.bytes_estimated / found.bytes_measured,
                found.seconds_estimated / found.seconds_measured,
            )
            print(f"| {what} | {size} | {memory} | {ratios[0]:.2f} | {seconds} | {ratios[1]:.2f} |")


RUNS = ("generation", "training", "training, checkpointed")


def _row(what: str, size: str, root: Path) -> Row:
    if what == "generation":
        return generation(SIZES[size], root)
    return training(SIZES[size], root, gradient_checkpointing=what == "training, checkpointed")


if __name__ == "__main__":
    main()
