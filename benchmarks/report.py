"""The report of 10,000 pairs: seconds to write it and its size, then to open, filter and sort it in Chromium.

Each pair has 12 scored sentences on its paths, as many pruned ones, and an image. `--pairs 100000` writes a folder; its peak
memory should be near that of 10,000. Run it with no other load: `python -m benchmarks.report [--pairs 10000]`. Without a
browser, only the writing is measured.
"""

import argparse
import json
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from csrdata.records import NO_PARENT, Dropped, Fate, Pair, PairScores, Prompt, Response, Sentence, Stop
from csrdata.report.series import Series
from csrdata.report.writing import Content, write_report
from csrdata.storage.iteration_tables import IterationTables
from csrdata.storage.tables import ShardStore, write_rows

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


def make(folder: Path, count: int) -> Content:
    """Write the tables and the images; return what the report shows."""
    draw, images = random.Random(0), folder / "images"
    images.mkdir()
    noise = np.random.default_rng(0)
    for number in range(min(IMAGES, count)):
        small = Image.fromarray(noise.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(images / f"{number}.jpg", quality=85)
    for number in range(IMAGES, count):
        shutil.copy(images / f"{number % IMAGES}.jpg", images / f"{number}.jpg")
    tables = IterationTables(
        "1", folder / "prompts.parquet", folder / "candidates", folder / "responses", folder / "pairs.parquet",
        folder / "dropped.parquet",
    )  # fmt: skip
    pairs: list[Pair] = []
    shards = -(-count // SHARD)
    candidates = ShardStore(tables.candidates, Sentence, fingerprint={}, shards=shards)
    responses = ShardStore(tables.responses, Response, fingerprint={}, shards=shards)
    for shard in range(shards):
        made = [_prompt(number, draw) for number in range(shard * SHARD, min((shard + 1) * SHARD, count))]
        candidates.add(shard, candidates.write(shard, [row for one in made for row in one[0]]))
        responses.add(shard, responses.write(shard, [row for one in made for row in one[1]]))
        pairs += [one[2] for one in made]
    candidates.finish()
    responses.finish()
    write_rows(tables.prompts, [Prompt(pair.prompt_id, pair.image, pair.prompt) for pair in pairs], Prompt)
    write_rows(tables.pairs, pairs, Pair)
    write_rows(tables.dropped, [], Dropped)
    return Content(
        [Series("iteration 1", "benchmark", tables)], images=images,
        drift=None, figures=[], parameters="", hashes={}, version="0",
    )  # fmt: skip


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
        page.wait_for_function(
            "document.querySelectorAll('.card img').length && "
            "[...document.querySelectorAll('.card img')].every((image) => image.naturalWidth)",
            timeout=120_000,
        )
        opened = time.perf_counter() - begin
        page.fill("#search", "dog")  # the first search reads the texts
        page.wait_for_function("!/reading/.test(document.querySelector('#count').innerText)", timeout=120_000)
        found: dict[str, float] = page.evaluate(script)
        browser.close()
    return {"open_seconds": opened, **found}


def main() -> None:
    """Print the figures of writing as JSON, then those of the browser."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=10_000)
    count = options.parse_args().pairs
    with tempfile.TemporaryDirectory() as scratch:
        content = make(Path(scratch), count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin, used = time.perf_counter(), time.process_time()
        written = write_report(content, Path(scratch) / "report.html", form=None)
        figures = {
            "pairs": count,
            "form": written.form,
            "megabytes": written.bytes / 1e6,
            "write_seconds": time.perf_counter() - begin,
            "write_cpu_seconds": time.process_time() - used,
            "peak_mib_before": before / 1024,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(figures, indent=2), flush=True)
        print(json.dumps(browse(Path(written.path)), indent=2))


if __name__ == "__main__":
    main()
