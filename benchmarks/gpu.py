"""The search at the shapes of real models with random weights: sentences per second, GPU-seconds a pair, peak memory.

`python -m benchmarks.gpu --shape llava-1.5-7b --out FOLDER` needs torch and transformers alone, and one GPU for at most ten
minutes. It measures, in this order: the device's memory bandwidth and matrix products; our search with CUDA graphs, and
without; transformers' batched `generate`; the straightforward search. Every figure is printed as soon as it is there, and
kept in FOLDER. `--write` puts the table into docs/benchmarks.md; `--from FILE --write` does so elsewhere, from the file.

Sentences have a fixed number of tokens, and guidance is the log-probability: no scorer is timed. Prompts have unlike
lengths.
"""

import argparse
import inspect
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.baselines import Batched, Straightforward
from benchmarks.page import put
from benchmarks.rooflines import Counted, Rates, costs_of, measure_rates, now
from benchmarks.shapes import SHAPES, Shape
from csrdata.checking.estimate import shape_of
from csrdata.checking.memory_plan import MemoryPlan, plan_search
from csrdata.policy.choosing import choose_path
from csrdata.policy.decoding import SentenceDecoder
from csrdata.policy.memory import free, is_out_of_memory
from csrdata.policy.passes import Passes, SharedPasses
from csrdata.policy.proposing import DiverseGroups
from csrdata.policy.static_passes import StaticPasses
from csrdata.search.beam import Branch, Candidates, Guidance, Proposal, Propose, search

KEEP_BEST, KEEP_WORST, GROUPS, PENALTY = 3, 2, 5, 3.0
"""The paper's search (A.1)."""
TEXT_TOKENS = (20, 60)
"""Tokens of a prompt without its image: fewest and most."""
ROOM = 0.85
"""Share of the memory that the batched search may plan with."""
AIMS = {"straightforward": 12.0, "batched": 3.0, "limit": 0.5}
"""How many times as fast as the others, and which share of the limit."""


@dataclass(frozen=True)
class Settings:
    """What is searched."""

    shape: str
    device: str
    dtype: str
    prompts: int
    tokens: int
    sentences: int
    repeats: int
    seconds: float
    """For all; a side that would start later is left out."""


@dataclass
class Result:
    """What has been measured so far."""

    settings: Settings
    machine: str
    versions: dict[str, str]
    figures: dict[str, dict[str, float | str | None]] = field(default_factory=dict)

    def add(self, name: str, out: Path, **figures: float | str | None) -> None:
        """Print figures, and write all that there are."""
        self.figures[name] = figures
        print(f"{name}: {', '.join(f'{key} {_short(value)}' for key, value in figures.items())}", flush=True)
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"gpu-{self.settings.shape}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        partial.replace(file)


class Numbers:
    """A tokenizer whose tokens are read as numbers: no sentence ends before its limit."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return " ".join(map(str, ids))

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: object) -> list[str]:
        return [self.decode(row) for row in rows]


class Prompts:
    """Prompts of unlike length about random images, as token ids."""

    def __init__(self, shape: Shape, model: Any, *, count: int, device: str) -> None:
        self.model, self.device = model, device
        draw = random.Random(0)
        image = [model.config.image_token_id] * shape.image_tokens
        around: tuple[list[int], list[int]] = ([], [])
        if hasattr(model.config, "vision_start_token_id"):
            around = [model.config.vision_start_token_id], [model.config.vision_end_token_id]
        self.ids = [
            [
                2,
                *around[0],
                *image,
                *around[1],
                *(draw.randrange(10, 300) for _ in range(draw.randint(*TEXT_TOKENS))),
            ]
            for _ in range(count)
        ]
        torch.manual_seed(0)
        self.pixels = [shape.pixels(1) for _ in range(count)]
        self.length = max(map(len, self.ids))

    def encode(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Return the model's inputs of some prompts, padded on the left."""
        own = [self.ids[number] for number in numbers]
        longest = max(map(len, own))
        ids = torch.tensor([[1] * (longest - len(one)) + one for one in own])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in own])
        found = {"input_ids": ids, "attention_mask": mask}
        if "mm_token_type_ids" in inspect.signature(self.model.forward).parameters:
            found["mm_token_type_ids"] = (ids == self.model.config.image_token_id).long()
        for name in self.pixels[0]:
            found[name] = torch.cat([self.pixels[number][name] for number in numbers])
        found["pixel_values"] = found["pixel_values"].to(self.model.dtype)
        return {name: value.to(self.device) for name, value in found.items()}


def main() -> None:
    """Measure, print, keep; write the table if asked."""
    parser = argparse.ArgumentParser(
        description="The search at the shapes of real models with random weights."
    )
    parser.add_argument("--shape", choices=SHAPES, default="llava-1.5-7b")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--prompts", type=int, default=48, help="in flight in our search")
    parser.add_argument("--tokens", type=int, default=20, help="of each sentence")
    parser.add_argument("--sentences", type=int, default=3, help="of each answer")
    parser.add_argument("--repeats", type=int, default=3, help="of each search; the median counts")
    parser.add_argument("--seconds", type=float, default=540.0, help="no search starts after so long")
    parser.add_argument("--out", type=Path, help="folder for the figures, as JSON")
    parser.add_argument(
        "--from", dest="file", type=Path, help="measure nothing: take the figures of this file"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.file is not None:
        raw = json.loads(arguments.file.read_text(encoding="utf-8"))
        result = Result(Settings(**raw.pop("settings")), **raw)
    elif arguments.out is None:
        parser.error("--out FOLDER is needed, so that a run that is cut keeps what it has measured")
    else:
        settings = Settings(**{name: getattr(arguments, name) for name in Settings.__dataclass_fields__})
        result = measure(settings, out=arguments.out)
    rows = table(result)
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if arguments.write:
        put(f"gpu {result.settings.shape}", rows, command=_command(result), machine=result.machine)


def measure(settings: Settings, *, out: Path) -> Result:
    """Measure all figures of one shape; each is kept in `out` as soon as it is there."""
    start = time.perf_counter()
    import transformers

    torch.backends.cuda.matmul.allow_tf32 = False
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": str(torch.version.cuda),
    }
    result = Result(settings, _machine(settings.device), versions)
    dtype, shape = getattr(torch, settings.dtype), SHAPES[settings.shape]
    rates = measure_rates(settings.device, dtype, large=settings.device != "cpu")
    result.add("device", out, gb_per_second=rates.bytes / 1e9, tflops=rates.products / 1e12)
    model = shape.build(device=settings.device, dtype=dtype)
    prompts = Prompts(shape, model, count=max(2, settings.prompts), device=settings.device)
    plan = _plan(settings, model, prompts)
    result.add(
        "plan", out, prompts_that_fit=plan.fits if plan.available else None, gb_planned=plan.needs(settings.prompts) / 1e9,
        gb_per_prompt=sum(plan.each.values()) / 1e9, prompt_tokens=prompts.length,
    )  # fmt: skip
    before = model.config._attn_implementation  # noqa: SLF001 - no public name
    sides: dict[str, Callable[[], None]] = {
        "graphs": lambda: _ours(result, out, model, prompts, rates=rates, kind=StaticPasses),
        "without graphs": lambda: _ours(result, out, model, prompts, rates=rates, kind=SharedPasses),
        "path": lambda: _path(result, out, model, prompts),
        "batched": lambda: _batched(result, out, model, prompts),
        "straightforward": lambda: _straightforward(result, out, model, prompts),
    }
    for name, side in sides.items():
        if time.perf_counter() - start > settings.seconds:
            result.add(name, out, left_out=f"more than {settings.seconds:.0f} s had passed")
            continue
        if name in ("batched", "straightforward"):
            model.set_attn_implementation(before)
        try:
            side()
        except RuntimeError as error:  # one side that fails does not cost the others
            kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
            result.add(name, out, failed=f"{kind}: {' '.join(str(error).split())[:200]}")
        free()
    result.add("all", out, seconds=time.perf_counter() - start)
    return result


def _plan(settings: Settings, model: Any, prompts: Prompts) -> MemoryPlan:
    """Return the memory plan of our search with graphs."""
    available = 0 if settings.device == "cpu" else _memory(settings.device)
    return plan_search(
        shape_of(model),
        available=available,
        prompt_tokens=prompts.length,
        keep=KEEP_BEST + KEEP_WORST,
        candidates=GROUPS,
        answer_tokens=settings.tokens * settings.sentences,
        sentence_tokens=settings.tokens,
        accelerator=True,
        graphs=True,
    )


def _path(result: Result, out: Path, model: Any, prompts: Prompts) -> None:
    """Say which path a shard would take, and what it was compared with."""
    tokens = result.settings.tokens * result.settings.sentences
    choice = choose_path(model, prompts.encode, [0, 1], at_once=2, answer_tokens=tokens, graphs=True)
    result.add("path", out, kind=choice.kind, reason=choice.reason)


def _ours(
    result: Result, out: Path, model: Any, prompts: Prompts, *, rates: Rates, kind: Callable[[Any], Passes]
) -> None:
    """Measure our search: the first run captures or warms up, and is timed apart."""
    settings, runs = result.settings, []
    passes = kind(model)
    for _ in range(settings.repeats + 1):
        if kind is not StaticPasses:  # these keep no graphs
            passes = kind(model)
        counted = Counted(passes, costs_of(model), rates, settings.device, prompts.length)
        decoder = SentenceDecoder(
            counted,
            Numbers(model.config.get_text_config().vocab_size),  # type: ignore[arg-type]
            prompt_ids=[str(number) for number in range(settings.prompts)],
            proposing=DiverseGroups(GROUPS, PENALTY),
            max_sentence_tokens=settings.tokens,
            max_response_tokens=settings.tokens * settings.sentences + 1,
            end_ids=(),
            banned_ids=_banned(model),
        )

        def propose(branches: Sequence[Branch], decoder: SentenceDecoder = decoder) -> list[list[Proposal]]:
            if new := [branch.prompt for branch in branches if branch.state is None]:
                decoder.admit(new, prompts.encode(new))
            return decoder.propose(branches)

        runs.append((*_timed(settings, propose, settings.prompts), counted))
    counted = runs[-1][2]
    sentences, seconds = runs[-1][0], statistics.median(seconds for _, seconds, _ in runs[1:])
    decoding = statistics.median(run.decoding for *_, run in runs[1:])
    result.add(
        "graphs" if kind is StaticPasses else "without graphs",
        out,
        **_figures(result, sentences, seconds, settings.prompts),
        first_seconds=runs[0][1],
        encoding_seconds=counted.encoding,
        decoding_seconds=decoding,
        milliseconds_per_step=1000 * decoding / counted.steps,
        rows_per_step=counted.tokens / counted.steps,
        share_of_limit=counted.least / decoding,
        share_of_bandwidth=counted.reading / decoding,
        binds="reading" if counted.reading > counted.multiplying else "matrix products",
    )


def _batched(result: Result, out: Path, model: Any, prompts: Prompts) -> None:
    """Measure the batched `generate`, with as many prompts as its copies of the cache leave room for."""
    settings = result.settings
    count = settings.prompts
    if settings.device != "cpu":
        rows = GROUPS * (KEEP_BEST + KEEP_WORST)
        each = (rows + 2) * (prompts.length + settings.tokens * settings.sentences) * shape_of(model).cache
        room = ROOM * _memory(settings.device) - shape_of(model).weights
        count = max(1, min(count, int(room / each)))
    runs = []
    for _ in range(2):
        start = now(settings.device)
        propose = Batched(model, prompts.encode(range(count)), **_baseline(settings, model))
        encoded = now(settings.device) - start
        sentences, seconds = _timed(settings, propose, count)
        runs.append((sentences, seconds + encoded))
        del propose
        free()
    result.add("batched", out, **_figures(result, *runs[-1], count), prompts=count)


def _straightforward(result: Result, out: Path, model: Any, prompts: Prompts) -> None:
    """Measure the straightforward search of one prompt."""
    settings = result.settings
    propose = Straightforward(model, [prompts.encode([0])], **_baseline(settings, model))
    propose([Branch(0, -1, 0, 0, 0.0, None)])
    sentences, seconds = _timed(settings, propose, 1)
    result.add("straightforward", out, **_figures(result, sentences, seconds, 1), prompts=1)


def _timed(settings: Settings, propose: Propose, count: int) -> tuple[int, float]:
    """Return the sentences and the seconds of a search of `count` prompts."""
    if settings.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    start = now(settings.device)
    trees = search(
        [str(number) for number in range(count)],
        propose=propose,
        guide=_by_likelihood,
        keep_best=KEEP_BEST,
        keep_worst=KEEP_WORST,
        rank_by="sentence",
        max_sentences=settings.sentences,
    )
    return sum(map(len, trees)), now(settings.device) - start


def _by_likelihood(candidates: Sequence[Candidates]) -> list[list[Guidance]]:
    return [
        [Guidance(0.0, truncated=False, repetition=0.0, reward=proposal.logprob) for _, proposal in own]
        for _, own in candidates
    ]


def _figures(result: Result, sentences: int, seconds: float, prompts: int) -> Mapping[str, float | None]:
    peak = None
    if result.settings.device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 1e9
    return {
        "sentences_per_second": sentences / seconds,
        "seconds_per_pair": seconds / prompts,
        "peak_gb": peak,
    }


def _baseline(settings: Settings, model: Any) -> dict[str, Any]:
    return {"groups": GROUPS, "tokens": settings.tokens, "penalty": PENALTY, "banned": _banned(model)}


def _banned(model: Any) -> list[int]:
    """Return the tokens that stand for images, and padding."""
    config = model.config
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return sorted({1, *(one for name in names if (one := getattr(config, name, None)) is not None)})


def table(result: Result) -> list[list[str]]:
    """Return the figures as rows of a table; the first is the header."""
    rows = [["search", "sentences/s", "GPU-seconds a pair", "peak GB", "ours is", "aim"]]
    ours = next((result.figures[name] for name in ("graphs", "without graphs") if _rate(result, name)), None)
    mine = None if ours is None else _number(ours["sentences_per_second"])
    for name in ("graphs", "without graphs", "batched", "straightforward"):
        figures, rate = result.figures.get(name, {}), _rate(result, name)
        if rate is None:
            why = figures.get("failed") or figures.get("left_out") or "not measured"
            rows.append([name, str(why), "", "", "", ""])
            continue
        times = (
            "" if mine is None or name in ("graphs", "without graphs") else f"{mine / rate:.1f} times as fast"
        )
        aim = f"{AIMS[name]:.0f}" if name in AIMS else ""
        cells = [_cell(rate, 1), _cell(figures["seconds_per_pair"], 3), _cell(figures["peak_gb"], 1)]
        rows.append([name, *cells, times, aim])
    if ours is not None:
        device = result.figures["device"]
        said = f"{_cell(device['gb_per_second'], 0)} GB/s, {_cell(device['tflops'], 0)} TFLOP/s; {ours['binds']} binds"
        share = f"{100 * _number(ours['share_of_limit']):.0f}% of it"
        bandwidth = f"{100 * _number(ours['share_of_bandwidth']):.0f}% of it"
        rows.append([f"limit of decoding ({said})", "", "", "", share, f"{100 * AIMS['limit']:.0f}%"])
        rows.append(
            ["limit of decoding by reading alone", "", "", "", bandwidth, f"{100 * AIMS['limit']:.0f}%"]
        )
    return rows


def _rate(result: Result, name: str) -> float | None:
    value = result.figures.get(name, {}).get("sentences_per_second")
    return value if isinstance(value, float) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _cell(value: object, digits: int) -> str:
    return "-" if value is None else f"{_number(value):,.{digits}f}"


def _short(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _memory(device: str) -> int:
    """Return the bytes of a GPU's memory."""
    return int(torch.cuda.get_device_properties(device).total_memory)


def _machine(device: str) -> str:
    """Return the name of the device."""
    if device == "cpu":
        return f"a CPU ({platform.machine()})"
    return str(torch.cuda.get_device_name(device))


def _command(result: Result) -> str:
    """Return the command of a result, without what is a default."""
    settings = result.settings
    words = [f"--shape {settings.shape}", f"--prompts {settings.prompts}", f"--tokens {settings.tokens}"]
    if settings.device != "cuda":
        words += [f"--device {settings.device}", f"--dtype {settings.dtype}"]
    return f"python -m benchmarks.gpu {' '.join(words)}"


if __name__ == "__main__":
    main()
