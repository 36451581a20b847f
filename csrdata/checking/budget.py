"""Peak memory and time of an iteration against the device: estimates in words, and what to lower where they do not fit."""

from collections.abc import Mapping

from csrdata.checking.estimate import MEASURED, total
from csrdata.checking.findings import Finding, error, ok, warning
from csrdata.checking.units import duration, size

BUSY = 0.5
"""Load per core from which on the trial's times are said to be those of a busy machine."""


def check_generation_memory(
    expected: Mapping[str, int], most: Mapping[str, int], *, available: int, at_once: int
) -> list[Finding]:
    """Compare generation's peak memory with the device's.

    Args:
        expected: parts of the estimate, for sentences as long as the trial's.
        most: parts of the estimate, for answers at the limits of tokens.
        available: bytes of the device.
        at_once: prompts that are searched together.
    """
    words = f"generation takes about {_parts(expected)}, at most {size(total(most))} at the token limits"
    words = f"{words}, of {size(available)}"
    fixed = expected["weights"]
    if fixed > available:
        do = "set compute.dtype to bfloat16, or take a smaller model or another device"
        return [error("memory", words, do=f"{do}, then: csrdata check")]
    for parts, finding in ((expected, error), (most, warning)):
        if total(parts) > available:
            fits = int((available - fixed) / (total(parts) - fixed) * at_once)
            to = f"{fits} or less" if fits else "1, and lower the token limits"
            do = f"set generate_beams.prompts_at_once to {to}, then: csrdata check"
            return [finding("memory", words, do=do)]
    return [ok("memory", words)]


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
