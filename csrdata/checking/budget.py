"""Peak memory and time of an iteration against the device: estimates in words, and what to lower where they do not fit."""

from collections.abc import Mapping

from csrdata.checking.estimate import MEASURED, total
from csrdata.checking.findings import Finding, error, ok, warning
from csrdata.checking.memory_plan import MemoryPlan
from csrdata.checking.units import duration, size

BUSY = 0.5
"""Load per core from which on the trial's times are said to be those of a busy machine."""
FEW = 2
"""`prompts_at_once` is far too small if this many times as many prompts fit, even at the limits of tokens."""


def check_generation_memory(
    usual: MemoryPlan, most: MemoryPlan, *, at_once: int, useful: int, accelerator: bool
) -> list[Finding]:
    """Compare generation's peak memory with the device's, and propose `prompts_at_once` where it is not the right one.

    The number of prompts is never changed here: another number is another plan of the shards, whose last bits can differ.

    Args:
        usual: for sentences as long as the trial's.
        most: for answers at the limits of tokens.
        at_once: prompts that are searched together.
        useful: the most prompts that can be searched together: a shard's.
        accelerator: whether the device is one; on a CPU more prompts in flight gain nothing (docs/benchmarks.md).
    """
    words = f"generation takes about {_parts(usual.parts(at_once))}, at most {size(most.needs(at_once))} at the token limits"
    words = f"{words}, of {size(usual.available)}; {usual.fits} prompts in flight fit, {most.fits} at the token limits"
    if sum(usual.fixed.values()) > usual.available:
        do = "set compute.dtype to bfloat16, or take a smaller model or another device"
        return [error("memory", words, do=f"{do}, then: csrdata check")]
    for plan, finding in ((usual, error), (most, warning)):
        if plan.fits < at_once:
            limits = "" if plan.fits else ", and lower the token limits"
            return [finding("memory", words, do=_propose(max(1, plan.fits), words=limits))]
    better = min(most.fits, useful)
    if accelerator and better >= FEW * at_once:
        return [warning("memory", words, do=_propose(better, words=", which is faster"))]
    return [ok("memory", words)]


def _propose(prompts: int, *, words: str) -> str:
    """Return what to write into params.yaml, and the next command."""
    line = f"write `prompts_at_once: {prompts}` under generate_beams in params.yaml{words}"
    return f"{line}; shards of another number are made again; then: csrdata check"


def check_training_memory(
    parts: Mapping[str, int], *, available: int, batch_size: int, accumulation: int
) -> list[Finding]:
    """Compare training's peak memory with the device's.

    Args:
        parts: of the estimate.
        available: bytes of the device.
        batch_size, accumulation: of `train_dpo`.
    """
    words = f"training takes about {_parts(parts)}, of {size(available)}"
    if total(parts) <= available:
        return [ok("memory", words)]
    fixed = parts["weights"] + parts["adapter"]
    fits = int((available - fixed) / (total(parts) - fixed) * batch_size)
    if fits >= 1:
        more = -(-batch_size * accumulation // fits)
        do = f"set train_dpo.batch_size to {fits} or less and accumulation to {more}"
    else:
        do = "train with gradient checkpointing, set compute.dtype to bfloat16, or take another device"
    return [error("memory", words, do=f"{do}, then: csrdata check")]


def check_time(
    *,
    search: tuple[float, float] | None,
    depths: tuple[int, int],
    training: float,
    iterations: int,
    load: float,
    cores: int,
) -> list[Finding]:
    """Return the time of an iteration in words, and how far estimates were off; a warning if other work slowed the trial.

    Args:
        search: seconds of the search, for answers as deep as the trial's and for the deepest; None without a search.
        depths: sentences of these answers.
        training: seconds with the most pairs that there may be.
        iterations: of the project.
        load: processes that ran or waited before the trial, on average.
        cores: of the machine.
    """
    words = "no search"
    if search is not None:
        least, most = (duration(one) for one in search)
        deep = f"{depths[0]} to {depths[1]} sentences" if depths[0] < depths[1] else f"{depths[1]} sentences"
        words = f"search {least} to {most} for answers of {deep}" if least != most else f"search {most}"
    words = f"one iteration: {words}, training at most {duration(training)}; {iterations} iterations"
    time = ok("time", words)
    if load > BUSY * cores:
        slowed = (
            f"{words}; tried with a load of {load:.1f} on {cores} cores by other work: alone it takes less"
        )
        time = warning("time", slowed, do="for a closer estimate, without other work: csrdata check")
    return [time, ok("estimates", MEASURED)]


def _parts(parts: Mapping[str, int]) -> str:
    inside = ", ".join(f"{name} {size(count)}" for name, count in parts.items())
    return f"{size(total(parts))} ({inside})"
