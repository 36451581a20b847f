"""Training of csrdata against plain TRL on the same pairs: pairs per second and peak memory.

Plain TRL is `DPOTrainer` with its own collator: it encodes each image once per answer and computes the reference in every
step. csrdata computes the reference once, before the steps (that pass is in its time), and encodes the image of a pair once.
Both take the same steps: LoRA of rank 16, dropout 0, `batch` pairs in each. Two workloads, with random weights: `micro` has
the shape of the microworld's policy, `wide` 576 image tokens like LLaVA-1.5, with a language model of 4 layers of width 512
and a tower of 4 layers of width 256. Each run is a separate process; sides alternate; a figure is the median of `--rounds`
runs. Seconds are user CPU, which other load disturbs less than the clock: `python -m benchmarks.training [--write]`.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets.utils.logging import disable_progress_bar
from PIL import Image

from benchmarks.workloads import random_llava
from csrdata.policy.loading import Policy, load_policy
from csrdata.policy.rows import dataset_of
from csrdata.policy.sides import BOTH
from csrdata.policy.training import language_layers, train
from csrdata.records import Pair, PairScores
from csrdata.sources.microworld.drawing import IMAGE_SIZE, draw
from csrdata.sources.microworld.world import sample_scenes

SIDES = ("csrdata", "plain TRL")
PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
BEGIN, END = "<!-- python -m benchmarks.training --write -->", "<!-- end of training -->"
SENTENCES = (
    " There is a red circle at the top left.",
    " A blue square is in the middle.",
    " I see a green star at the lower right.",
    " A yellow triangle is left of it.",
)
BETA, RATE = 0.1, 1e-4


@dataclass(frozen=True, slots=True)
class Size:
    """A workload."""

    pairs: int
    batch: int
    epochs: int
    width: int
    layers: int
    heads: int
    side: int
    patch: int


SIZES = {
    "micro": Size(pairs=64, batch=16, epochs=2, width=192, layers=3, heads=6, side=IMAGE_SIZE, patch=22),
    "wide": Size(pairs=4, batch=2, epochs=2, width=512, layers=4, heads=8, side=336, patch=14),
}


def main() -> None:
    """Measure all sides and workloads, print the table, and write it into the page if asked."""
    parser = argparse.ArgumentParser(description="Training of csrdata against plain TRL.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.side:
        print(json.dumps(measure(arguments.side, SIZES[arguments.size])))
        return
    found = {
        (size, side): [run(size, side, threads=arguments.threads) for _ in range(arguments.rounds)]
        for size in SIZES
        for side in SIDES
    }
    text = table(found, rounds=arguments.rounds, threads=arguments.threads)
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def run(size: str, side: str, *, threads: int) -> dict[str, float]:
    """Measure one side in a new process."""
    words = [
        sys.executable,
        "-m",
        "benchmarks.training",
        "--size",
        size,
        "--side",
        side,
        "--threads",
        str(threads),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))  # noqa: S603 - its own arguments
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(side: str, size: Size) -> dict[str, float]:
    """Train once; return pairs per second of user CPU, and the peak memory that training added, MiB."""
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        random_llava(
            root / "policy",
            width=size.width,
            layers=size.layers,
            side=size.side,
            patch=size.patch,
            heads=size.heads,
        )
        pairs = make_pairs(root, size.pairs)
        policy = load_policy(root / "policy")
        (root / "adapter").mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        (ours if side == SIDES[0] else plain)(policy, pairs, root, size)
        after = resource.getrusage(resource.RUSAGE_SELF)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    trained = size.pairs * size.epochs
    return {
        "pairs_per_cpu_second": trained / (after.ru_utime - before.ru_utime),
        "pairs_per_second": trained / (time.perf_counter() - start),
        "peak_mib": (after.ru_maxrss - before.ru_maxrss) / unit,
    }


def make_pairs(root: Path, count: int) -> list[Pair]:
    """Return pairs of answers of two to four sentences, each with an image of its own."""
    drawn = random.Random(0)
    pairs = []
    for index, scene in enumerate(sample_scenes(split="held_out", count=count, seed=0)):
        Image.fromarray(draw(scene)).save(root / f"{index}.png")
        chosen, rejected = ("".join(drawn.choices(SENTENCES, k=drawn.randint(2, 4))) for _ in BOTH)
        pairs.append(
            Pair(
                prompt_id=f"train-{index:05d}",
                image=f"{index}.png",
                prompt="Describe this image.",
                chosen=chosen,
                rejected=f"{rejected} So.",
                origin="judge",
                scores=PairScores(),
            )
        )
    return pairs


def ours(policy: Policy, pairs: Sequence[Pair], root: Path, size: Size) -> None:
    """Train with csrdata."""
    train(
        policy,
        pairs,
        root=root,
        adapter_folder=root / "adapter",
        loss="sigmoid",
        dpo_weight=1.0,
        label_smoothing=0.0,
        ld_alpha=None,
        margin="none",
        margin_scale=1.0,
        beta=BETA,
        sft_weight=0.0,
        learning_rate=RATE,
        epochs=size.epochs,
        batch_size=size.batch,
        accumulation=1,
        warmup_share=0.0,
        lora_rank=16,
        lora_alpha=32,
        lora_dropout=0.0,
        reference_tolerance=1e-4,
        gradient_checkpointing=False,
        seed=0,
        progress=False,
    )


def plain(policy: Policy, pairs: Sequence[Pair], root: Path, size: Size) -> None:
    """Train with TRL's own trainer, collator and references, on the same rows."""
    from peft import LoraConfig
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    trainer: Any = DPOTrainer(
        model=policy.model,
        args=DPOConfig(
            output_dir=str(root / "scratch"),
            beta=BETA,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            num_train_epochs=size.epochs,
            per_device_train_batch_size=size.batch,
            max_length=None,
            remove_unused_columns=False,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            seed=0,
            data_seed=0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=dataset_of(policy, pairs, root=root, sides=BOTH),
        processing_class=policy.processor,
        peft_config=LoraConfig(
            r=16,
            lora_alpha=32,
            lora_dropout=0.0,
            target_modules=language_layers(policy.model),
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()
    trainer.model.save_pretrained(str(root / "adapter"))


def table(found: dict[tuple[str, str], list[dict[str, float]]], *, rounds: int, threads: int) -> str:
    """Return the figures as a table in Markdown."""

    def median(size: str, side: str, name: str) -> float:
        return statistics.median(one[name] for one in found[size, side])

    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        f"`python -m benchmarks.training`, {day}, {threads} thread, medians of {rounds} runs:",
        "",
        "| workload | side | pairs per second of CPU | ratio | peak memory added by training, MiB | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size in SIZES:
        base = {name: median(size, SIDES[1], name) for name in ("pairs_per_cpu_second", "peak_mib")}
        for side in SIDES:
            rate, peak = (median(size, side, name) for name in base)
            lines.append(
                f"| {size} | {side} | {rate:.2f} | {rate / base['pairs_per_cpu_second']:.2f} "
                f"| {peak:.0f} | {peak / base['peak_mib']:.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
