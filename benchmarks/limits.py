"""Ways to a faster search on the CPU that were tried, each timed against what is shipped.

Run after `dvc repro generate_beams@1`, with no other load: `python -m benchmarks.limits`.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.workloads import WORKLOADS, Workload
from csrdata import paths
from csrdata.errors import UserError
from csrdata.records import Fate, Sentence
from csrdata.search.responses import path_to
from csrdata.storage.tables import read_rows

REPEATS = 31
ANSWERS, HEADS, GROUPS, SIZE = 250, 6, 5, 32
"""Attention of a full step at the micro size: 50 prompts with five live answers each."""
SEARCHED = 200
"""Prompts of each search that is timed as a whole."""


def main() -> None:
    """Print the figures of each way."""
    torch.set_num_threads(2)
    rows = read_rows(paths.candidates("1"), Sentence, made_by="dvc repro generate_beams@1")
    trees = [list(tree) for _, tree in groupby(rows, key=lambda row: row.prompt_id)]
    for slots in (20, 50, 100):
        show_attention(slots)
    show_sharing(trees)
    show_equal_rows(trees)
    show_refilling()
    show_processes()


@torch.inference_mode()
def show_attention(slots: int) -> None:
    """Print the time of a layer's attention to the answers' own tokens: as shipped, fused, and with transposed keys."""
    queries = torch.randn(ANSWERS, HEADS, GROUPS, SIZE)
    new = torch.randn(ANSWERS, HEADS, GROUPS, SIZE)
    keys, values = torch.randn(2, ANSWERS, HEADS, slots + GROUPS, SIZE)
    across = keys.transpose(-1, -2).contiguous()
    mask = torch.zeros(ANSWERS, 1, GROUPS, slots)
    key, value, turned = keys[:, :, :slots], values[:, :, :slots], across[..., :slots]

    ways: Mapping[str, Callable[[], object]] = {
        "two products and a softmax": lambda: (
            (queries @ key.transpose(-1, -2)).add_(mask).softmax(-1) @ value
        ),
        "fused": lambda: F.scaled_dot_product_attention(queries, key, value, attn_mask=mask, scale=1.0),
        "first product": lambda: queries @ key.transpose(-1, -2),
        "with keys transposed": lambda: queries @ turned,
        "writing a token": lambda: keys[:, :, slots:].copy_(new),
        "transposed": lambda: across[..., slots:].copy_(new.transpose(-1, -2)),
    }
    found = ", ".join(f"{name} {1000 * _median(way):.2f}" for name, way in ways.items())
    print(f"attention to {slots} slots, ms: {found}")


def show_sharing(trees: Sequence[Sequence[Sentence]]) -> None:
    """Print how many of the tokens before a prompt's live answers are distinct; the others belong to a shared sentence."""
    all_tokens: dict[int, int] = {}
    distinct: dict[int, int] = {}
    for tree in trees:
        nodes = {sentence.node_id: sentence for sentence in tree}
        live = [each for each in tree if each.fate in (Fate.KEPT_BEST, Fate.KEPT_WORST)]
        for depth in {each.depth for each in live}:
            behind = [path_to(each, nodes) for each in live if each.depth == depth]
            all_tokens[depth] = all_tokens.get(depth, 0) + _tokens(step for path in behind for step in path)
            stems = {step.node_id: step for path in behind for step in path}
            distinct[depth] = distinct.get(depth, 0) + _tokens(stems.values())
    shares = ", ".join(
        f"{depth}: {100 * distinct[depth] / all_tokens[depth]:.0f}%" for depth in sorted(distinct)
    )
    print(f"distinct tokens behind a prompt's live answers, by sentences: {shares}")


def show_equal_rows(trees: Sequence[Sequence[Sentence]]) -> None:
    """Print how many decoded rows equal another row of the same answer, token for token so far."""
    rows = again = 0
    for tree in trees:
        seen: set[tuple[int, ...]] = set()
        for sentence in tree:
            for end in range(1, len(sentence.token_ids) + 1):
                start = (sentence.parent_id, *sentence.token_ids[:end])
                rows += 1
                again += start in seen
                seen.add(start)
    print(f"rows equal to another so far: {100 * again / rows:.1f}%")


def show_refilling() -> None:
    """Print sentences per second when a shard's prompts are searched together, and half of them at a time."""
    workload = WORKLOADS["micro"](SEARCHED)
    _rate(workload, size=100)
    rates: dict[int, list[float]] = {100: [], 50: []}
    for _ in range(5):
        for at_once, found in rates.items():
            found.append(_rate(workload, size=100, at_once=at_once))
    together, half = map(statistics.median, rates.values())
    print(f"100 prompts of a shard together {together:.0f} sentences/s, 50 at a time {half:.0f}")


def show_processes() -> None:
    """Print sentences per second of two processes with one thread each, and of one process with two threads.

    Two processes search 50 prompts each at a time, one searches 100. Loading is not counted.
    """
    context = multiprocessing.get_context("spawn")
    found = {}
    for processes in (1, 2):
        barrier, rates = context.Barrier(processes), context.Queue()
        threads = 2 // processes
        workers = [
            context.Process(target=_work, args=(threads, 100 // processes, barrier, rates))
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        found[processes] = sum(rates.get() for _ in workers)
        for worker in workers:
            worker.join()
    print(
        f"one process of two threads {found[1]:.0f} sentences/s, two of one {found[2]:.0f}: {found[2] / found[1]:.2f} times"
    )


def _work(threads: int, size: int, barrier: Barrier, rates: Any) -> None:
    torch.set_num_threads(threads)
    workload = WORKLOADS["micro"](SEARCHED)
    _rate(workload, size=size)
    barrier.wait()
    rates.put(statistics.median(_rate(workload, size=size) for _ in range(3)))


def _rate(workload: Workload, *, size: int, at_once: int | None = None) -> float:
    """Return the sentences per second of a search in shards of `size` prompts."""
    start, sentences = time.perf_counter(), 0
    for first in range(0, SEARCHED, size):
        shard = replace(workload, images=workload.images[first : first + size])
        sentences += sum(map(len, shard.search(shard.admitting(), size, at_once=at_once)))
    return sentences / (time.perf_counter() - start)


def _tokens(sentences: Iterable[Sentence]) -> int:
    return sum(len(each.token_ids) for each in sentences)


def _median(way: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
