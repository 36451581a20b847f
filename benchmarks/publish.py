"""A push with images, against `Dataset.push_to_hub`, to the same local Hub: time and peak memory.

Each side and the Hub run in separate processes. Both sides embed the images and send their files through LFS. csrdata
also writes candidates, the project's tables and a card, reads everything again (the gates), and tags. Run it with no
other load: `python -m benchmarks.publish [--rows 100000] [--kilobytes 50] [--json FILE]`. It needs four times rows x
kilobytes of disk, in `--folder`.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from csrdata.params import FILE, load_params
from csrdata.records import (
    CSR_SEARCH,
    NO_PARENT,
    Dropped,
    Fate,
    Pair,
    PairScores,
    Prompt,
    Record,
    Response,
    Sentence,
    Stop,
)
from csrdata.storage.tables import seal, write_rows
from tests.publishing.hub_server import environment, serve
from tests.publishing.hub_state import TOKEN, Hub

SIDES = ("ours", "push_to_hub")
LFS_FROM = 1_000_000
"""Bytes: larger files are sent through LFS."""
SHARD = 1000
ROOT = Path(__file__).parents[1]
PARAMS = ROOT / FILE
ANSWER = " A red circle is left of a blue star. A green square lies under both of them."


def main() -> None:
    """Make a project, push it in both ways, print and write the figures."""
    parser = argparse.ArgumentParser(description="A push with images, against Dataset.push_to_hub.")
    parser.add_argument("--rows", type=int, default=2000, help="number of pairs; each has a different image")
    parser.add_argument("--kilobytes", type=int, default=50, help="size of an image")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(push(arguments.side, arguments.folder)))
        return
    figures: dict[str, Any] = {"rows": arguments.rows, "kilobytes": arguments.kilobytes}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        project = Path(scratch) / "project"
        size = make_project(project, rows=arguments.rows, kilobytes=arguments.kilobytes)
        for side in SIDES:
            with serve(Path(scratch) / "hub", lfs_from=LFS_FROM) as hub:
                found = measure(side, project, hub, home=Path(scratch) / "home")
                sent = hub.received
            shutil.rmtree(Path(scratch) / "hub")
            found |= {
                "rows_per_second": round(arguments.rows / found["seconds"], 1),
                "mb_per_second": round(size / 1e6 / found["seconds"], 1),
                "mb_sent": round(sent / 1e6, 1),
            }
            figures[side] = found
            parts = ", ".join(f"{name} {value}" for name, value in found.items())
            print(f"{side:12} {parts}", flush=True)
    ours, theirs = (figures[side] for side in SIDES)
    time_ratio, memory_ratio = ours["seconds"] / theirs["seconds"], ours["peak_mib"] / theirs["peak_mib"]
    cpu_ratio = ours["user_cpu"] / theirs["user_cpu"]
    print(
        f"ours / push_to_hub: time {time_ratio:.2f}, user CPU {cpu_ratio:.2f}, peak memory {memory_ratio:.2f}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(side: str, project: Path, hub: Hub, *, home: Path) -> dict[str, Any]:
    """Run one side in a separate process and return its figures: seconds, and peak memory in MiB."""
    words = [sys.executable, "-m", "benchmarks.publish", "--side", side, "--folder", str(project)]
    env = environment(hub, home, token=TOKEN) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - its own arguments
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def push(side: str, project: Path) -> dict[str, Any]:
    """Push the project in one way; imports are not timed."""
    import datasets
    import huggingface_hub

    del datasets, huggingface_hub
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = (_ours if side == "ours" else _push_to_hub)(project)
    after = resource.getrusage(resource.RUSAGE_SELF)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "seconds": round(sum(seconds.values()), 2),
        **seconds,
        "user_cpu": round(after.ru_utime - before.ru_utime, 2),
        "peak_mib": round(after.ru_maxrss / unit, 1),
    }


def _ours(project: Path) -> dict[str, float]:
    from csrdata.publishing.hub.pushing import push_folder
    from csrdata.publishing.origins import origin
    from csrdata.publishing.release.gates import check
    from csrdata.publishing.release.manifest import Model
    from csrdata.publishing.release.writing import write_release
    from csrdata.storage.iteration_tables import IterationTables

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=project.parent) as scratch:
        folder = Path(scratch) / "release"
        tables = IterationTables(
            "1",
            prompts=project / "prompts.parquet",
            candidates=project / "candidates",
            responses=project / "responses",
            pairs=project / "pairs.parquet",
            dropped=project / "dropped.parquet",
        )
        decoded: set[str] = set()
        with _clock(seconds, "write"):
            write_release(
                folder,
                repo_id="me/ours",
                iterations=[tables],
                images="embed",
                project_root=project,
                params=load_params(PARAMS).model_dump(),
                params_file=PARAMS,
                lock=None,
                models=[Model("base policy", "none", "0" * 64)],
                origin=origin("noise", licence="cc0-1.0", images="noise", outputs="none"),
                gate=lambda _, names: decoded.update(names),
            )
        with _clock(seconds, "gates"):
            check(folder, decoded=decoded)
        with _clock(seconds, "push"):
            push_folder(folder, repo_id="me/ours", tag="v1", message="A set", token=os.environ["HF_TOKEN"])
    return seconds


def _push_to_hub(project: Path) -> dict[str, float]:
    import polars as pl
    from datasets import Dataset

    from csrdata.publishing.release.columns import pair_features, pair_row
    from csrdata.storage.tables import from_table

    seconds: dict[str, float] = {}
    with _clock(seconds, "write"):
        # What a user would write: paths in the rows; the push embeds the images.
        rows = [
            {**pair_row(pair, None), "images": [{"bytes": None, "path": str(project / pair.image)}]}
            for pair in from_table(pl.read_parquet(project / "pairs.parquet"), Pair)
        ]
        made = Dataset.from_list(rows, features=pair_features("embed"))
    with _clock(seconds, "push"):
        made.push_to_hub("me/theirs", config_name="iteration_1", split="train")
    return seconds


@contextmanager
def _clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)


def make_project(folder: Path, *, rows: int, kilobytes: int) -> int:
    """Write tables, and images of noise, which no compression makes smaller; return the bytes of the images."""
    side = math.isqrt(kilobytes * 1000 // 3)
    total = 0
    (folder / "images").mkdir(parents=True)
    for index in range(rows):
        pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        path = folder / _image(index)
        Image.fromarray(pixels).save(path, compress_level=1)
        total += path.stat().st_size
    _rows(folder / "prompts.parquet", Prompt, _prompt, rows)
    _rows(folder / "pairs.parquet", Pair, _pair, rows)
    write_rows(folder / "dropped.parquet", [], Dropped)
    for start in range(0, rows, SHARD):
        last = min(start + SHARD, rows)
        name = f"{start // SHARD:05d}.parquet"
        nodes = [_sentence(index, node) for index in range(start, last) for node in range(4)]
        write_rows(folder / "candidates" / name, nodes, Sentence)
        answers = [_response(index, leaf) for index in range(start, last) for leaf in (2, 3)]
        write_rows(folder / "responses" / name, answers, Response)
    for name, record in (("candidates", Sentence), ("responses", Response)):
        seal(folder / name, record, fingerprint={"rows": str(rows)})
    return total


def _rows(path: Path, record: Record, make: Callable[[int], Any], rows: int) -> None:
    write_rows(path, (make(index) for index in range(rows)), record)


def _image(index: int) -> str:
    return f"images/{index:06d}.png"


def _prompt(index: int) -> Prompt:
    return Prompt(f"train-{index:06d}", _image(index), "Describe the image.")


def _pair(index: int) -> Pair:
    scores: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("chosen", "rejected")
        for name, value in (("logprob", -4.0), ("relevance", 20.0))
    }
    counts: dict[str, Any] = {
        f"{side}_{name}": 16 for side in ("chosen", "rejected") for name in ("tokens", "words")
    }
    return Pair(
        prompt_id=f"train-{index:06d}",
        image=_image(index),
        prompt="Describe the image.",
        chosen=f"{ANSWER} {index}",
        rejected=f"{ANSWER} Not {index}.",
        origin=CSR_SEARCH,
        scores=PairScores(
            chosen_leaf=2,
            rejected_leaf=3,
            chosen_reward=1.5,
            rejected_reward=0.5,
            margin=1.0,
            chosen_reward_held_out=1.5,
            rejected_reward_held_out=0.5,
            **scores,
            **counts,
        ),
    )


def _sentence(index: int, node: int) -> Sentence:
    leaf = node > 1
    return Sentence(
        prompt_id=f"train-{index:06d}",
        node_id=node,
        parent_id=node - 2 if leaf else NO_PARENT,
        depth=2 if leaf else 1,
        group=node % 2,
        text="" if leaf else f"{ANSWER} {index}",
        token_ids=list(range(node, node + 16)),
        logprob=-2.0,
        relevance=None if leaf else 20.0,
        relevance_truncated=False,
        repetition=0.0,
        guidance_reward=None if leaf else 0.5,
        stop=Stop.END if leaf else Stop.SENTENCE_END,
        fate=Fate.FINISHED if leaf else Fate.KEPT_BEST,
        canonical=True,
    )


def _response(index: int, leaf: int) -> Response:
    return Response(
        prompt_id=f"train-{index:06d}",
        leaf_id=leaf,
        text=f"{ANSWER} {index}",
        words=16,
        sentences=1,
        tokens=16,
        logprob=-4.0,
        reward=0.5,
        likelihood=0.5,
        relevance=20.0,
        relevance_held_out=20.0,
        reward_held_out=0.5,
        finished=True,
        canonical=True,
    )


if __name__ == "__main__":
    main()
