"""The storage layout for 100 million prompts, simulated on 10 million rows of metadata; no model, no candidates.

Today a stage's folder holds all of its shards and one manifest in JSON, which is written again when a shard is finished. The
manifest of S shards is about 130 S bytes, so that a run writes 65 S^2 bytes of manifests. The layout measured here has two
levels: a *part* is a folder of 1,000 shards with its own manifest, and an *index* in Parquet has one row per prompt: its
number, its shard, the first of its rows there, how many, and their bytes. A part is written by one worker, so that a run on
shared storage has no file that two workers write. `python -m benchmarks.layout [--rows 10000000] [--write]` prints the
measured figures and the arithmetic for 100 million prompts.
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from csrdata.storage.shard_manifest import ShardFile, ShardManifest, load_manifest, shard_name, write_manifest

T = TypeVar("T")
PAGE = Path(__file__).parents[1] / "docs/scale.md"
BEGIN, END = "<!-- python -m benchmarks.layout --write -->", "<!-- end of layout -->"
SHARD = 64
"""Prompts of a shard, as in the 7B profiles (`generate_beams.prompts_per_shard`)."""
PART = 1000
"""Shards of a part."""
GROUP = 64_000
"""Rows of a row group of the index: one part's prompts, so that a prompt is found by reading one group."""
GOAL = 100_000_000


def main() -> None:
    """Measure today's manifest and the two-level layout; print a table, and write it into the page if asked."""
    parser = argparse.ArgumentParser(description="The storage layout for 100 million prompts.")
    parser.add_argument("--rows", type=int, default=10_000_000, help="prompts to simulate")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--write", action="store_true", help="write the table into docs/scale.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        lines = [*manifests(Path(scratch)), *index(Path(scratch), arguments.rows)]
    text = "\n".join(
        [
            f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())}, one core, seconds of CPU; {arguments.rows:,} prompts:",
            "",
            "| figure | measured | for 100 million prompts |",
            "| --- | --- | --- |",
            *lines,
            "",
        ]
    )
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def manifests(folder: Path) -> list[str]:
    """Return rows on one manifest of many shards, as today, and on the manifest of one part."""
    found = []
    for shards in (PART, 16 * PART):
        manifest = ShardManifest(
            {"params": "0" * 64},
            shards,
            {shard_name(one): ShardFile(rows=SHARD * 30, sha256=f"{one:064x}") for one in range(shards)},
        )
        (folder / str(shards)).mkdir()
        write_seconds, _ = timed(partial(write_manifest, folder / str(shards), manifest))
        read_seconds, again = timed(partial(load_manifest, folder / str(shards)))
        if again != manifest:
            raise SystemExit("the manifest that was read is not the one that was written")
        size = (folder / str(shards) / "manifest.json").stat().st_size
        wanted = GOAL // SHARD
        if shards == PART:
            found.append(
                f"| a part's manifest: {shards:,} shards of {SHARD} prompts | {size / 1e3:.0f} kB, written in "
                f"{write_seconds * 1e3:.1f} ms, read in {read_seconds * 1e3:.1f} ms | {wanted // PART:,} of them, "
                f"{wanted / PART * size / 1e6:.0f} MB; all writes of a run: {wanted / 2 * size / 1e9:.0f} GB, "
                f"{wanted * write_seconds / 2 / 3600:.1f} h of CPU |"
            )
        else:
            total = wanted / shards
            found.append(
                f"| one manifest of all shards, as today: {shards:,} (1 M prompts) | {size / 1e6:.2f} MB, written in "
                f"{write_seconds:.2f} s; all writes of a run: {shards / 2 * size / 1e9:.1f} GB, "
                f"{shards * write_seconds / 2 / 3600:.2f} h of CPU | {size * total / 1e6:.0f} MB; all writes: "
                f"{wanted / 2 * size * total / 1e12:.0f} TB, {wanted * write_seconds * total / 2 / 3600:,.0f} h of CPU |"
            )
    return found


def index(folder: Path, rows: int) -> list[str]:
    """Return rows on the index of prompts: its size, the time to write it, to find a prompt, and to add all of it up."""
    file = folder / "index.parquet"
    seconds, _ = timed(lambda: prompts(rows).write_parquet(file, row_group_size=GROUP, statistics=True))
    size, times = file.stat().st_size, GOAL / rows
    drawn = random.Random(0)
    wanted = [drawn.randrange(rows) for _ in range(20)]
    find_seconds, found = timed(
        lambda: [pl.scan_parquet(file).filter(pl.col("prompt") == one).collect() for one in wanted]
    )
    for one, row in zip(wanted, found, strict=True):
        if row["shard"].to_list() != [one // SHARD]:
            raise SystemExit(f"prompt {one} was not found in its shard")
    scan_seconds, total = timed(
        lambda: (
            pl.scan_parquet(file)
            .select(pl.col("rows").cast(pl.Int64).sum(), pl.col("bytes").cast(pl.Int64).sum())
            .collect(engine="streaming")
        )
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    parts = -(-rows // (SHARD * PART))
    return [
        f"| index of prompts, one row each | {size / 1e6:.0f} MB ({size / rows:.1f} bytes per prompt), written in "
        f"{seconds:.1f} s | {size * times / 1e9:.1f} GB, {seconds * times:.0f} s; one file per part |",
        f"| row groups of {GROUP:,} rows (a part) | {-(-rows // GROUP):,} | {-(-GOAL // GROUP):,} |",
        f"| find one prompt's shard and rows | {find_seconds / len(wanted) * 1e3:.0f} ms in one file | the part is "
        "its number divided: the index of one part is read |",
        f"| add up rows and bytes of all prompts | {scan_seconds:.2f} s ({total['bytes'][0] / 1e9:.0f} GB of tables) "
        f"| {scan_seconds * times:.1f} s |",
        f"| folders (parts) | {parts:,} | {-(-GOAL // (SHARD * PART)):,} |",
        f"| shard files | {-(-rows // SHARD):,} | {-(-GOAL // SHARD):,}, at most {PART:,} in a folder |",
        f"| peak memory of this program | {peak:,.0f} MiB | the same, part by part |",
    ]


def prompts(rows: int) -> pl.DataFrame:
    """Return the index of some prompts: 20 to 40 candidates each, 60 to 110 bytes a candidate."""
    drawn = np.random.default_rng(0)
    number = np.arange(rows, dtype=np.int64)
    counts = drawn.integers(20, 41, rows, dtype=np.int32)
    before = np.cumsum(counts, dtype=np.int64) - counts
    shard = number // SHARD
    return pl.DataFrame(
        {
            "prompt": number,
            "shard": shard.astype(np.int32),
            "first_row": (before - before[shard * SHARD]).astype(np.int32),
            "rows": counts,
            "bytes": (counts * drawn.integers(60, 111, rows)).astype(np.int32),
        }
    )


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds of CPU that some work took, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
