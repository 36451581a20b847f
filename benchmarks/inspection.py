"""The speed and memory of `stats`, `select_pairs` and `sweep` on generated tables; `stats` side by side with plain pandas.

`python -m benchmarks.inspection [--pairs 1000000] [--prompts 1000000] [--docs]`. Each side runs in a separate process; its
seconds of CPU (user and system) and its peak memory are those of that process, the import of its library included. `--docs`
writes the table of docs/benchmarks.md. The tables of a million prompts take 1.5 GB of disk.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.page import put
from benchmarks.processes import Cost
from benchmarks.processes import measured as run_measured
from benchmarks.searches import ANSWERS, WORDS, write_search
from csrdata import paths
from csrdata.pipeline.project import profile_path
from csrdata.strict_yaml import read_yaml

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


def write_params(path: Path) -> None:
    """Write the microworld's parameters with pairs of whole answers: other ways read more than the search."""
    raw: Any = read_yaml(profile_path("microworld"))
    raw["select_pairs"] = {
        "kind": "answers",
        "order": "reward",
        "margin": 0.0,
        "max_length_gap": 1.0,
        "length_balance": None,
        "per_prompt": 1,
        "seed": 0,
        "curation": None,
    }
    path.write_text(json.dumps(raw), encoding="utf-8")


def select_pairs(path: Path) -> dict[str, Any]:
    """Select the pairs of the project in the folder of `path`; return their number."""
    from csrdata.params import load_params
    from csrdata.pipeline.select_pairs import run

    os.chdir(path.parent)
    run(load_params(), "1")
    return {"kept": pl.scan_parquet(paths.pairs("1")).select(pl.len()).collect().item()}


def sweep(path: Path) -> dict[str, Any]:
    """Sweep 11 weights over the project in the folder of `path`; return the pairs of the present setting."""
    from csrdata.pipeline.sweep import sweep as run

    os.chdir(path.parent)
    _, rows = run("1", image_weights="0:1:0.1", scales=[], aggregates=[], margins=None)
    return {"rows": len(rows), "kept": rows[0].pairs}


STATS = {"csrdata": by_csrdata, "pandas": by_pandas}
SIDES = {**STATS, "select_pairs": select_pairs, "sweep": sweep}


def measured(side: str, path: Path) -> tuple[Cost, dict[str, Any]]:
    """Return what one side takes in a new process, and its figures."""
    cost, text = run_measured("benchmarks.inspection", "--side", side, "--file", str(path))
    print(
        f"{side:12} {cost.cpu_seconds:7.1f} s of CPU {cost.seconds:7.1f} s {cost.peak_mib:7.0f} MiB",
        flush=True,
    )
    return cost, json.loads(text)


def compare_stats(path: Path, pairs: int) -> list[Sequence[str]]:
    """Print the cost of `stats` on both sides, their ratio, and the figures that differ; return the rows of the table."""
    make_pairs(path, pairs)
    print(f"stats of {pairs:,} pairs, {path.stat().st_size / 2**20:.0f} MiB", flush=True)
    (own, figures), (pandas, other) = (measured(side, path) for side in STATS)
    differs = [name for name, value in figures.items() if not _same(value, other[name])]
    print(f"figures that differ: {', '.join(differs) or 'none'}")
    rows: list[Sequence[str]] = []
    for what, one, two, unit, aim in (
        (f"`stats` of {pairs:,} pairs", own.cpu_seconds, pandas.cpu_seconds, "s of CPU", "8 times"),
        ("the same, peak", own.peak_mib, pandas.peak_mib, "MiB", "2,048 MiB"),
    ):
        rows.append([what, _number(one), _number(two), unit, f"{two / one:.1f}", aim])
    return rows


def measure_searches(path: Path, prompts: int) -> list[Sequence[str]]:
    """Print the cost of `select_pairs` and `sweep`; return the rows of the table."""
    print(f"{prompts:,} prompts with {ANSWERS} answers", flush=True)
    (select, selected), (sweeping, swept) = measured("select_pairs", path), measured("sweep", path)
    print(f"pairs of both: {'equal' if selected['kept'] == swept['kept'] else 'different'}")
    what, aim = f"`sweep` of 11 weights over {prompts:,} prompts", f"{60 * prompts / 1_000_000:,.0f} s"
    half = f"{40.7 * prompts / 200_000:,.0f} s"
    return [
        [what, _number(sweeping.cpu_seconds), "-", "s of CPU", "-", aim],
        ["the same, peak", _number(sweeping.peak_mib), "-", "MiB", "-", "4,096 MiB"],
        ["`select_pairs` of the same prompts", _number(select.cpu_seconds), "-", "s of CPU", "-", half],
        ["the same, peak", _number(select.peak_mib), "-", "MiB", "-", "1,536 MiB"],
    ]


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="stats, select_pairs and sweep on generated tables.")
    parser.add_argument("--pairs", type=int, default=1_000_000, help="of stats")
    parser.add_argument("--prompts", type=int, default=1_000_000, help="of select_pairs and sweep")
    parser.add_argument("--folder", type=Path, help="for the tables; by default a temporary one")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/benchmarks.md")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments.file)))
        return
    rows: list[Sequence[str]] = [["figure", "csrdata", "plain pandas", "unit", "ratio", "aim"]]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        path = Path(scratch) / "pairs.parquet"
        if arguments.pairs:
            rows += compare_stats(path, arguments.pairs)
        if arguments.prompts:
            os.chdir(scratch)
            write_params(Path("params.yaml"))
            write_search(arguments.prompts)
            rows += measure_searches(path, arguments.prompts)
    if arguments.docs:
        command = (
            f"python -m benchmarks.inspection --pairs {arguments.pairs} --prompts {arguments.prompts} --docs"
        )
        put("inspection", rows, command=command)


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-9 * max(1.0, abs(other))
    return one == other


if __name__ == "__main__":
    main()
