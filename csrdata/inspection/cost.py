"""What a search has cost, read from its run log: throughput, memory, and where the time went."""

import json
from pathlib import Path
from typing import Any


def cost(log: Path) -> dict[str, Any] | None:
    """Return the figures of a stage's run log; None where there is none, as after a checkout from the cache.

    Of a shard that was made more than once, the last time counts. `spent`: percent of the shards' seconds by what they
    went into; what no name was given to is `other`.
    """
    try:
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except (OSError, json.JSONDecodeError):
        return None
    shards = {event["index"]: event for event in events if event["event"] == "shard"}
    if not shards:
        return None
    seconds = sum(shard["seconds"] for shard in shards.values())
    names = dict.fromkeys(name for shard in shards.values() for name in shard.get("spent", {}))
    spent = {name: sum(shard["spent"].get(name, 0.0) for shard in shards.values()) for name in names}
    rows = sum(shard["rows"] for shard in shards.values())
    return {
        "prompts": sum(shard["items"] for shard in shards.values()),
        "seconds": seconds,
        "sentences_per_second": rows / seconds,
        "peak_mib": max(shard.get("peak_mib", 0.0) for shard in shards.values()),
        "spent": {
            **{name: 100 * part / seconds for name, part in spent.items()},
            "other": 100 * (seconds - sum(spent.values())) / seconds,
        },
    }
