"""The report of 10,000 and of 100,000 pairs: what it takes to write, and to open, filter and sort it in Chromium.

Each pair has 12 scored sentences on its paths, as many pruned ones, and an image. The report is written in a new process,
whose peak memory should hardly grow with the pairs. Without a browser, only the writing is measured.

`python -m benchmarks.report [--pairs 10000 100000] [--docs]`; `--docs` writes the table of docs/benchmarks.md. 100,000 pairs
take 2 GB of disk.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from benchmarks.page import put
from benchmarks.processes import measured
from csrdata.records import NO_PARENT, Dropped, Fate, Pair, PairScores, Response, Sentence, Stop
from csrdata.report.series import Series
from csrdata.report.writing import Content, write_report
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import ShardStore, to_table, write_rows, write_table

SENTENCES = 6
"""Of each of the two answers of a pair."""
SHARD = 500
IMAGES = 500
"""Different pictures; every pair has its own file."""
WORDS = "a the red blue green small large cat dog table chair window person holds near behind on under street tree".split()
END = Stop.SENTENCE_END.value


def _text(draw: random.Random) -> str:
    return f" {' '.join(draw.choices(WORDS, k=12))}."


def _prompt(number: int, draw: random.Random) -> tuple[list[Sentence], list[Response], Pair]:
    """Return the tree, the answers and the pair of one prompt."""
    prompt_id, texts, leaves = f"train-{number:06d}", list[str](), list[int]()
    tree, answers = list[Sentence](), list[Response]()
    for side in range(2):
        parent, text = NO_PARENT, ""
        for depth in range(1, SENTENCES + 1):
            for fate in (Fate.KEPT_BEST, Fate.PRUNED):
                said, value = _text(draw), draw.gauss(1.0 - 2 * side, 1.0)
                row = Sentence(
                    prompt_id, len(tree), parent, depth, 0, said, [1] * 14, -draw.random() * 9,
                    20 + 20 * draw.random(), False, 0.1, value, END, fate.value, True,
                )  # fmt: skip
                tree.append(row)
                if fate is Fate.KEPT_BEST:
                    kept, text = row.node_id, text + said
            parent = kept
        texts.append(text)
        leaves.append(parent)
        answers.append(
            Response(prompt_id, parent, text, 72, 6, 84, -20.0, 1.0, 0.5, 30.0, 31.0, 1.0, True, True)
        )
    margin = draw.expovariate(0.5)
    scores = PairScores(
        leaves[0], leaves[1], margin / 2, -margin / 2, margin, draw.random(), -draw.random(), 30.0 + draw.random(),
        25.0 + draw.random(), -20.0, -25.0, 84, 84, 72, 60 + draw.randrange(20),
    )  # fmt: skip
    return (
        tree,
        answers,
        Pair(prompt_id, f"{number}.jpg", "Describe.", texts[0], texts[1], "csr_search", scores=scores),
    )


def content(folder: Path) -> Content:
    """Return what the report shows of the tables that `make` wrote."""
    tables = IterationTables(
        "1", folder / "prompts.parquet", folder / "candidates", folder / "responses", folder / "pairs.parquet",
        folder / "dropped.parquet",
    )  # fmt: skip
    return Content(
        [Series("iteration 1", "benchmark", tables)], images=folder / "images",
        drift=None, figures=[], parameters="", hashes={}, version="0",
    )  # fmt: skip


def make(folder: Path, count: int) -> None:
    """Write the tables and the images."""
    _make_images(folder / "images", count)
    draw = random.Random(0)
    tables = content(folder).series[0].tables
    shards = -(-count // SHARD)
    candidates = ShardStore(tables.candidates, Sentence, fingerprint={}, shards=shards)
    responses = ShardStore(tables.responses, Response, fingerprint={}, shards=shards)
    pairs: list[pl.DataFrame] = []
    for shard in range(shards):
        made = [_prompt(number, draw) for number in range(shard * SHARD, min((shard + 1) * SHARD, count))]
        candidates.add(shard, candidates.write(shard, [row for one in made for row in one[0]]))
        responses.add(shard, responses.write(shard, [row for one in made for row in one[1]]))
        pairs.append(to_table([one[2] for one in made], Pair))
    candidates.finish()
    responses.finish()
    table = pl.concat(pairs)
    write_table(tables.pairs, table)
    write_table(tables.prompts, table.select("prompt_id", "image", pl.col("prompt").alias("text")))
    write_rows(tables.dropped, [], Dropped)


def _make_images(folder: Path, count: int) -> None:
    """Write the image of each pair; those behind the first `IMAGES` are links to them."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number}.jpg"
        if number < IMAGES:
            small = Image.fromarray(noise.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            small.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=85)
        else:
            os.link(folder / f"{number % IMAGES}.jpg", path)


def browse(path: Path) -> dict[str, float]:
    """Return the seconds until images of the first pairs are decoded, and the milliseconds of a filter and of a sort."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return {}
    script = """async () => {
      const search = document.querySelector('#search'), sort = document.querySelector('#sort');
      const timed = (work) => { const begin = performance.now(); work(); return performance.now() - begin; };
      const filter = [], order = [];
      for (const text of ['chair window', 'dog', 'red cat', '']) filter.push(timed(() => {
        search.value = text; search.dispatchEvent(new Event('input')); }));
      await new Promise((done) => setTimeout(done, 200));
      const begin = performance.now();
      for (const name of ['margin', 'gap', 'disagreement', 'prompt']) order.push(timed(() => {
        sort.value = name; sort.dispatchEvent(new Event('change')); }));
      return { filter_ms: Math.max(...filter), sort_ms: Math.max(...order) };
    }"""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        begin = time.perf_counter()
        page.goto(f"file://{path.resolve()}", timeout=120_000)
        _until(
            page,
            "document.querySelectorAll('.card img').length && "
            "[...document.querySelectorAll('.card img')].every((image) => image.naturalWidth)",
        )
        opened = time.perf_counter() - begin
        begin = time.perf_counter()
        page.fill("#search", "dog")  # the first search reads the texts
        _until(page, "!/reading/.test(document.querySelector('#count').innerText)")
        searched = time.perf_counter() - begin
        found: dict[str, float] = page.evaluate(script)
        browser.close()
    return {"open_seconds": opened, "search_seconds": searched, **found}


def _until(page: Any, condition: str) -> None:
    """Wait until a condition holds; the page's security policy lets it not be watched from inside."""
    limit = time.monotonic() + 300
    while not page.evaluate(condition):
        if time.monotonic() > limit:
            raise SystemExit(f"not within 300 s: {condition}")
        page.wait_for_timeout(20)


def measure(count: int, *, scratch: Path) -> dict[str, float | str]:
    """Return the figures of a report of `count` pairs."""
    make(scratch, count)
    cost, text = measured("benchmarks.report", "--write", str(scratch))
    written = json.loads(text)
    figures = {"pairs": count, **written, **asdict(cost), **browse(Path(written["path"]))}
    print(json.dumps(figures, indent=2), flush=True)
    return figures


ROWS = {
    "form": "written as",
    "megabytes": "size, MB",
    "cpu_seconds": "write, s of CPU (aim: 60 for 10,000)",
    "seconds": "the same, s by the clock",
    "peak_mib": "the same, peak MiB",
    "open_seconds": "open until the first images are seen, s",
    "search_seconds": "first search, which reads the texts, s",
    "filter_ms": "filter, ms",
    "sort_ms": "sort, ms",
}
"""The figures of the table, with their names there."""


def main() -> None:
    """Print the figures of each size as JSON."""
    options = argparse.ArgumentParser(description="The report of many pairs: write, open, filter, sort.")
    options.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--folder", type=Path, help="for the tables; by default a temporary one")
    options.add_argument("--docs", action="store_true", help="write the table of docs/benchmarks.md")
    options.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.write:
        written = write_report(content(arguments.write), arguments.write / "report.html", form=None)
        print(json.dumps({"path": written.path, "form": written.form, "megabytes": written.bytes / 1e6}))
        return
    found = []
    for count in arguments.pairs:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
            found.append(measure(count, scratch=Path(scratch)))
    if arguments.docs:
        header = ["figure", *(f"{one['pairs']:,} pairs" for one in found)]
        rows = [[words, *(_cell(one.get(name)) for one in found)] for name, words in ROWS.items()]
        command = f"python -m benchmarks.report --pairs {' '.join(map(str, arguments.pairs))} --docs"
        put("report", [header, *rows], command=command)


def _cell(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
