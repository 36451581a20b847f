"""The cost of a search, from its run log: throughput, memory, and time by activity."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SearchCost:
    """Figures of a stage's run log."""

    prompts: int
    seconds: float
    """Seconds of the search with all workers at once: the sum over shards of time / workers."""
    sentences_per_second: float
    """Of all workers at once."""
    peak_mib: float
    """MiB: the largest peak memory of any one process."""
    spent: dict[str, float]
    """Percent of the workers' seconds by activity; the rest is `other`."""


def cost(log: Path) -> SearchCost | None:
    """Return the figures of a stage's run log; None if there is no log, as after a checkout from the DVC cache.

    If a shard was made more than once, the last time counts. Ignored are lines that a kill cut off, and shards of an
    earlier plan (another number of shards).
    """
    if not log.is_file():
        return None
    events = [_event(line) for line in log.read_text(encoding="utf-8").splitlines()]
    made = [event for event in events if event.get("event") == "shard"]
    if not made:
        return None
    shards = {event["index"]: event for event in made if event.get("shards") == made[-1].get("shards")}
    seconds = sum(shard["seconds"] for shard in shards.values())
    together = sum(shard["seconds"] / shard.get("workers", 1) for shard in shards.values())
    names = dict.fromkeys(name for shard in shards.values() for name in shard.get("spent", {}))
    spent = {name: sum(shard.get("spent", {}).get(name, 0.0) for shard in shards.values()) for name in names}
    rows = sum(shard["rows"] for shard in shards.values())
    return SearchCost(
        prompts=sum(shard["items"] for shard in shards.values()),
        seconds=together,
        sentences_per_second=rows / together,
        peak_mib=max(shard.get("peak_mib", 0.0) for shard in shards.values()),
        spent={
            **{name: 100 * part / seconds for name, part in spent.items()},
            "other": 100 * (seconds - sum(spent.values())) / seconds,
        },
    )


PAIR_STAGES = ("generate_beams", "measure_signals", "score_beams", "judge_answers", "select_pairs")
"""The stages whose time a pair costs."""


@dataclass(frozen=True, slots=True)
class PairCost:
    """What a kept pair cost, over the stages from the search to the selection; each counts with its last complete run."""

    cpu_seconds: float
    """Seconds of CPU, on all cores."""
    seconds: float
    """Seconds by the clock; with one GPU these are its seconds."""


def pair_cost(log: Path, *, name: str, pairs: int) -> PairCost | None:
    """Return what a pair of an iteration cost; None without pairs or without a log of its stages.

    Args:
        log: the log of stages.
        name: the iteration.
        pairs: how many pairs it has.
    """
    if not pairs or not log.is_file():
        return None
    events = [_event(line) for line in log.read_text(encoding="utf-8").splitlines()]
    last = {
        one["stage"]: one
        for one in events
        if one.get("event") == "stage" and one.get("name") == name and one.get("stage") in PAIR_STAGES
    }
    if not last:
        return None
    cpu, clock = (
        sum(float(one.get(key, 0.0)) for one in last.values()) for key in ("cpu_seconds", "seconds")
    )
    return PairCost(cpu / pairs, clock / pairs)


def _event(line: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return event
