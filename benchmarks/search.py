"""The search's speed, against two other searches in the same run, and where its time and memory go.

Run after `dvc repro prepare`, with no other load:
`python -m benchmarks.search [--json FILE] [--workload micro|wide] [--growth]`.
"""

import argparse
import gc
import itertools
import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.workloads import WORKLOADS, Workload
from csrdata.errors import UserError
from csrdata.policy.decoding import SentenceDecoder
from csrdata.records import NO_PARENT, Sentence
from csrdata.search.beam import Branch, Proposal

PROMPTS = {"micro": {"ours": 100, "naive": 1, "batched": 100}, "wide": {"ours": 4, "naive": 1, "batched": 4}}
"""Prompts that each side searches in one measurement."""
REPEATS = 5
NEAR_TIE = 1e-5
"""Nats: if the two best penalized log-probabilities are closer than this, either token is right."""

Figure = dict[str, float | str]


@dataclass(frozen=True)
class Decoded:
    """The cost of one step of the search: one sentence for each row."""

    seconds: float
    rows: int
    tokens: int


class Timed:
    """A decoder whose calls are timed one by one, one call per depth."""

    def __init__(self, decoder: SentenceDecoder) -> None:
        self.decoder = decoder
        self.layers: list[Decoded] = []

    @property
    def seconds(self) -> float:
        return sum(layer.seconds for layer in self.layers)

    def propose(self, branches: Sequence[Branch]) -> list[list[Proposal]]:
        start = time.perf_counter()
        proposals = self.decoder.propose(branches)
        seconds = time.perf_counter() - start
        tokens = sum(len(each.token_ids) for group in proposals for each in group)
        self.layers.append(Decoded(seconds, sum(map(len, proposals)), tokens))
        return proposals


def main() -> None:
    """Print every figure, and write the table to the file of `--json`."""
    parser = argparse.ArgumentParser(description="The search's speed against two others, in one run.")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--growth", action="store_true", help="also print the cost for 100 to 10,000 prompts (takes minutes)"
    )
    parser.add_argument("--workload", choices=WORKLOADS, help="run only this one")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    figures: dict[str, Figure] = {}
    for name in [arguments.workload] if arguments.workload else WORKLOADS:
        workload = WORKLOADS[name](max(PROMPTS[name].values()))
        found = against_others(workload)
        show_agreement(workload)
        show_memory(workload)
        show_depth(workload)
        show_profile(workload)
        if name == "micro":
            found["roofline_micro"] = roofline(workload)
            show_limit(
                workload,
                straightforward=float(found["naive_micro"]["other"]),
                bound=float(found["roofline_micro"]["other"]),
            )
            if arguments.growth:
                show_growth(workload)
        for figure_name, figure in found.items():
            sides = f"ours {figure['ours']:10.1f}  other {figure['other']:10.1f} {figure['unit']:14}"
            print(f"{figure_name:16} {sides} ratio {figure['ratio']:.2f}", flush=True)
        figures |= found
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def against_others(workload: Workload) -> dict[str, Figure]:
    """Return sentences per second of the three searches, which alternate; medians. CLIP and prefill count on every side."""
    sides: dict[str, Callable[[int], list[list[Sentence]]]] = {
        "ours": lambda count: workload.search(workload.decoder(count).propose, count),
        "naive": lambda count: workload.search(workload.naive, count),
        "batched": lambda count: workload.search(workload.batched(count), count),
    }
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(REPEATS + 1):
        for side, run in sides.items():
            start = time.perf_counter()
            trees = run(PROMPTS[workload.name][side])
            rate = sum(map(len, trees)) / (time.perf_counter() - start)
            if turn:  # the first round warms up
                rates[side].append(rate)
    median = {side: statistics.median(found) for side, found in rates.items()}
    return {
        f"{other}_{workload.name}": {
            "ours": median["ours"],
            "other": median[other],
            "ratio": median["ours"] / median[other],
            "unit": "sentences/s",
        }
        for other in ("naive", "batched")
    }


def show_agreement(workload: Workload, *, prompts: int = 3) -> None:
    """Compare every node of our trees with the straightforward decoder on the same prefix.

    If a choice of the straightforward decoder was a near tie, its group and later groups, which depend on it, are
    left out.
    """
    trees = workload.search(workload.decoder(prompts).propose, prompts)
    sentences = compared = equal = 0
    widest = 0.0
    for prompt, tree in enumerate(trees):
        tokens: dict[int, tuple[int, ...]] = {NO_PARENT: ()}
        children: dict[int, list[Sentence]] = {}
        for sentence in tree:
            tokens[sentence.node_id] = (*tokens[sentence.parent_id], *sentence.token_ids)
            children.setdefault(sentence.parent_id, []).append(sentence)
        for parent, ours in children.items():
            plain = workload.continue_one(Branch(prompt, parent, 0, 0, 0.0, tokens[parent]))
            clear = list(itertools.takewhile(lambda each: each.closest >= NEAR_TIE, plain))
            found = {tuple(sentence.token_ids): sentence.logprob for sentence in ours}
            sentences += len(plain)
            compared += len(clear)
            for each in clear:
                if each.tokens in found:
                    equal += 1
                    widest = max(widest, abs(found[each.tokens] - each.logprob))
    print(
        f"{workload.name}: {equal} of {compared} sentences equal to the straightforward decoder's on the same prefix, "
        f"log-probabilities within {widest:.1e} nats; {100 * (1 - compared / sentences):.1f}% left out, near ties"
    )


def show_memory(workload: Workload) -> None:
    """Print the memory of the prompts' keys and values, which are kept once per prompt and not once per row."""
    count = PROMPTS[workload.name]["ours"]
    kept = workload.prefix_bytes(count)
    rows = workload.groups * (workload.keep_best + workload.keep_worst)
    once = kept / count / 1024
    print(
        f"{workload.name}: prefix {once:.0f} KiB per prompt; repeated for its {rows} rows {rows * once:.0f} KiB"
    )


def show_depth(workload: Workload, *, layers: int = 10) -> None:
    """Print the decoding time per sentence by depth, from the second depth on: the first has a fifth of the rows.

    Answers are forced to go on, by sentences of ten tokens.
    """
    forced = workload.forced(tokens=10, sentences=layers)
    count = PROMPTS[workload.name]["ours"]
    found = []
    for _ in range(REPEATS):
        timed = Timed(forced.decoder(count))
        forced.search(timed.propose, count)
        found.append([layer.seconds / layer.rows for layer in timed.layers])
    costs = [1e6 * statistics.median(layer) for layer in zip(*found, strict=True)][1:]
    shown = ", ".join(f"{cost:.0f}" for cost in costs)
    print(
        f"{workload.name}: microseconds per sentence, depths 2 to {layers}: {shown}; last / first {costs[-1] / costs[0]:.2f}"
    )


def show_profile(workload: Workload, *, operators: int = 12) -> None:
    """Print where one search of ours spends its time: torch's operators, and the time between them."""
    count = PROMPTS[workload.name]["ours"]
    workload.search(workload.decoder(count).propose, count)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        start = time.perf_counter()
        workload.search(workload.decoder(count).propose, count)
        wall = 1e6 * (time.perf_counter() - start)
    spent = sorted(recorded.key_averages(), key=lambda each: -each.self_cpu_time_total)
    shown = [f"{each.key} {100 * each.self_cpu_time_total / wall:.0f}%" for each in spent[:operators]]
    between = 100 * (1 - sum(each.self_cpu_time_total for each in spent) / wall)
    print(
        f"{workload.name}: {wall / 1e6:.2f} s under the profiler: {', '.join(shown)}; between operators {between:.0f}%"
    )


def roofline(workload: Workload) -> Figure:
    """Return decoded tokens per second, and what the matrix products alone would allow with as many rows."""
    count = PROMPTS[workload.name]["ours"]
    rates = []
    for _ in range(REPEATS):
        timed = Timed(workload.decoder(count))
        workload.search(timed.propose, count)
        rates.append(sum(layer.tokens for layer in timed.layers) / timed.seconds)
    bound = _matrix_bound(workload, rows=round(statistics.fmean(layer.rows for layer in timed.layers)))
    ours = statistics.median(rates)
    return {"ours": ours, "other": bound, "ratio": ours / bound, "unit": "tokens/s"}


def _matrix_bound(workload: Workload, *, rows: int) -> float:
    """Return tokens per second if a step consisted of its linear layers alone, on `rows` rows."""
    model: Any = workload.policy.model
    decoder = model.get_decoder()
    weights = [module.weight for module in decoder.modules() if isinstance(module, torch.nn.Linear)]
    weights.append(model.get_output_embeddings().weight)
    inputs = {weight.shape[1]: torch.randn(rows, weight.shape[1]) for weight in weights}
    times = []
    with torch.inference_mode():
        for _ in range(4 * REPEATS):
            start = time.perf_counter()
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)
            times.append(time.perf_counter() - start)
    return rows / statistics.median(times)


def show_limit(workload: Workload, *, straightforward: float, bound: float) -> None:
    """Print the speed of a search with only the language model's matrix products, and with these and CLIP.

    Args:
        workload: what is searched.
        straightforward: sentences per second of the other side of `naive_*`.
        bound: tokens per second of the matrix products, the other side of `roofline_*`.
    """
    count = PROMPTS[workload.name]["ours"]
    judging = []
    for _ in range(REPEATS):
        timed = Timed(workload.decoder(count))
        start = time.perf_counter()
        sentences = sum(map(len, workload.search(timed.propose, count)))
        judging.append((time.perf_counter() - start - timed.seconds) / sentences)
    tokens = sum(layer.tokens for layer in timed.layers) / sentences
    products, judged = tokens / bound, statistics.median(judging)
    print(
        f"{workload.name}: a sentence of {tokens:.1f} tokens takes {1e6 * products:.0f} microseconds of matrix products, "
        f"{1e6 * judged:.0f} of CLIP and the search's bookkeeping; a straightforward one {1e6 / straightforward:.0f}: "
        f"{1 / straightforward / products:.0f} times the products, "
        f"{1 / straightforward / (products + judged):.0f} times both"
    )


def show_growth(workload: Workload) -> None:
    """Print time per sentence for 100 to 10,000 prompts in shards of 100, and the peak memory of the process."""
    for prompts in (100, 1000, 10_000):
        start, sentences = time.perf_counter(), 0
        for _ in range(prompts // 100):
            sentences += sum(map(len, workload.search(workload.decoder(100).propose, 100)))
            gc.collect()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{prompts} prompts: {1e6 * seconds / sentences:.0f} microseconds per sentence, peak so far {peak:.0f} MiB"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
