"""The speed and memory of `stats` and `sweep`, side by side with the same figures by plain pandas, on generated pairs.

`python -m benchmarks.inspection [--pairs 1000000] [--prompts 1000]`. Each side runs in a separate process; its seconds of
CPU (user and system) and its peak memory are those of that process, the import of its library included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from csrdata.records import NO_PARENT, Fate, Prompt, Sentence, Stop
from csrdata.search.sweep import Setting, Tree, grid, sweep

WORDS = "a the red blue green circle square star left right top of and is there near big small behind above".split()
ANSWERS = 10
CHUNK = 50_000


def make_pairs(path: Path, count: int) -> None:
    """Write a Parquet file of pairs with scores; texts have 20 to 60 words, and one pair in a hundred is a copy."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    writer = None
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        numbers = np.arange(start, start + rows)
        texts = {
            side: [
                " ".join(WORDS[word] for word in random.integers(0, len(WORDS), size))
                for size in random.integers(20, 60, rows)
            ]
            for side in ("chosen", "rejected")
        }
        rewards = random.normal(size=(4, rows))
        table = pl.DataFrame(
            {
                "prompt_id": [f"train-{number:09d}" for number in numbers],
                "image": [f"images/{number // 4}.png" for number in numbers],
                "prompt": [f"Describe picture {number % 1000}." for number in numbers],
                **texts,
                "origin": ["csr_search"] * rows,
                "margin": np.abs(rewards[0] - rewards[1]),
                "chosen_reward": np.maximum(rewards[0], rewards[1]),
                "rejected_reward": np.minimum(rewards[0], rewards[1]),
                "chosen_reward_held_out": rewards[2],
                "rejected_reward_held_out": rewards[3],
            }
        )
        table = table.with_columns(
            pl.when(pl.int_range(pl.len()) % 100 == 1)
            .then(pl.col(name).shift(1))
            .otherwise(pl.col(name))
            .alias(name)
            for name in ("image", "prompt", "chosen", "rejected")
        )
        arrow: pa.Table = table.to_arrow()
        writer = writer or pq.ParquetWriter(path, arrow.schema)
        writer.write_table(arrow)
    if writer is not None:
        writer.close()


def by_pandas(path: Path) -> dict[str, Any]:
    """Return the same figures as a person computes them with pandas."""
    import pandas as pd

    table = pd.read_parquet(path)
    chosen, rejected = (table[side].str.split().str.len() for side in ("chosen", "rejected"))
    gap = chosen - rejected
    margin = table.chosen_reward - table.rejected_reward
    held_out = table.chosen_reward_held_out - table.rejected_reward_held_out
    rewards = pd.concat([table.chosen_reward, table.rejected_reward])
    words = pd.concat([chosen, rejected])
    ranks = words.rank()[: len(chosen)].sum()
    whole = ["image", "prompt", "chosen", "rejected"]
    return {
        "kept": len(table),
        "mean_margin": table.margin.mean(),
        "quantiles": table.margin.quantile([0.1, 0.5, 0.9]).tolist(),
        "histogram": np.histogram(table.margin, bins=24)[0].tolist(),
        "mean_chosen_words": chosen.mean(),
        "mean_rejected_words": rejected.mean(),
        "chosen_shorter": 100 * (gap < 0).mean(),
        "chosen_longer": 100 * (gap > 0).mean(),
        "length_only_auc": (ranks - len(gap) * (len(gap) + 1) / 2) / len(gap) ** 2,
        "reward_length_correlation": rewards.corr(words),
        "margin_gap_correlation": margin.corr(gap),
        "held_out_agrees": 100 * ((held_out > 0) + (held_out == 0) / 2).mean(),
        "margin_correlation": margin.corr(held_out),
        "prompts": table.prompt.nunique(),
        "images": table.image.nunique(),
        "exact_duplicates": int(table.duplicated(whole).sum()),
        "by_origin": table.assign(gap=gap).groupby("origin").gap.mean().to_dict(),
        "largest": table.assign(held_out=held_out).nsmallest(5, "held_out").prompt_id.tolist(),
    }


def by_csrdata(path: Path) -> dict[str, Any]:
    """Return the figures of `csrdata stats FILE` that pandas computes too."""
    from csrdata.pipeline.figures import stats_of

    found = stats_of(str(path), None)
    return {
        "kept": found.pairs.kept,
        "mean_margin": found.pairs.mean_margin,
        "chosen_shorter": found.length.chosen_shorter,
        "length_only_auc": found.pairs.length_only_auc,
        "reward_length_correlation": found.length.reward_length_correlation,
        "held_out_agrees": found.scorers.held_out_agrees,
        "exact_duplicates": found.variety.exact_duplicates,
        "images": found.variety.images,
        "largest": [one.prompt_id for one in found.scorers.largest_disagreements],
    }


SIDES = {"csrdata": by_csrdata, "pandas": by_pandas}


def measured(side: str, path: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Return CPU seconds, seconds and peak memory of one side in a new process, and its figures."""
    words = [sys.executable, "-m", "benchmarks.inspection", "--side", side, "--file", str(path)]
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own script
        text = process.stdout.read() if process.stdout is not None else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cost = {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.perf_counter() - start,
        "peak_mib": usage.ru_maxrss / 1024,
    }
    return cost, json.loads(text)


def tree(number: int) -> Tree:
    """Return a search of one prompt with ten finished answers of two sentences each."""
    random = np.random.default_rng(number)
    prompt = Prompt(f"train-{number:09d}", f"images/{number}.png", "Describe.")
    sentences: list[Sentence] = []
    for parent in (NO_PARENT, *range(ANSWERS), *range(ANSWERS, 2 * ANSWERS)):
        depth = 1 if parent == NO_PARENT else 2 if parent < ANSWERS else 3
        for _ in range(ANSWERS if depth == 1 else 1):
            sentences.append(_sentence(prompt, len(sentences), parent, depth, random))
    return Tree(prompt, sentences, None)


def _sentence(prompt: Prompt, node: int, parent: int, depth: int, random: np.random.Generator) -> Sentence:
    text = (
        "" if depth == 3 else " " + " ".join(WORDS[word] for word in random.integers(0, len(WORDS), 10)) + "."
    )
    spoken = Sentence(
        prompt_id=prompt.prompt_id,
        node_id=node,
        parent_id=parent,
        depth=depth,
        group=0,
        text=text,
        token_ids=[1] * 12,
        logprob=-float(random.uniform(1, 20)),
        relevance=float(random.uniform(10, 40)),
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=0.0,
        stop=Stop.SENTENCE_END,
        fate=Fate.KEPT_BEST,
        canonical=True,
    )
    if depth < 3:
        return spoken
    return replace(spoken, relevance=None, guidance_reward=None, stop=Stop.END, fate=Fate.FINISHED)


def sweep_cost(prompts: int) -> float:
    """Return the seconds of CPU of a sweep of 11 weights, without those of making the trees."""
    trees = [tree(number) for number in range(prompts)]
    weights = [index / 10 for index in range(11)]
    settings = grid(image_weights=weights, scales=["zscore"], aggregates=["sum"], margins=[0.1])
    start = time.process_time()
    sweep(
        trees,
        settings,
        present=Setting(0.9, "zscore", "sum", 0.1),
        repetition_threshold=0.6,
        max_length_gap=0.2,
        per_prompt=1,
    )
    return time.process_time() - start


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="stats and sweep, side by side with plain pandas.")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--prompts", type=int, default=1000, help="of the sweep")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments.file)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pairs.parquet"
        make_pairs(path, arguments.pairs)
        print(f"{arguments.pairs:,} pairs, {path.stat().st_size / 2**20:.0f} MiB", flush=True)
        costs, figures = {}, {}
        for side in SIDES:
            costs[side], figures[side] = measured(side, path)
            cost = costs[side]
            print(
                f"stats, {side:8} {cost['cpu_seconds']:7.1f} s of CPU {cost['seconds']:7.1f} s "
                f"{cost['peak_mib']:7.0f} MiB",
                flush=True,
            )
        ratio = costs["pandas"]["cpu_seconds"] / costs["csrdata"]["cpu_seconds"]
        print(f"stats, ratio of CPU: {ratio:.1f}")
        other = figures["pandas"]
        differs = [name for name, value in figures["csrdata"].items() if not _same(value, other[name])]
        print(f"figures that differ: {', '.join(differs) or 'none'}")
    seconds = sweep_cost(arguments.prompts)
    print(
        f"sweep of 11 weights, {arguments.prompts:,} prompts with {ANSWERS} answers: {seconds:.1f} s of CPU"
    )


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-9 * max(1.0, abs(other))
    return one == other


if __name__ == "__main__":
    main()
