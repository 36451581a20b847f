"""A lock and one-line disk errors around each run of a stage.

Two runs of the same stage and iteration would write the same files. The second one ends immediately and names the process
that holds the lock. Different stages or iterations may run at the same time, as `dvc repro` may do. Shares of one stage
(`--shards`) run at the same time as well: each holds the lock of its share alone, and that of the stage with the others.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.storage.disk import is_held, read_json, refusals_in_words
from csrdata.storage.shard_shares import Share

LOCKS = paths.LOGS / "locks"


@contextmanager
def guarded(stage: str, name: str | None, share: Share | None = None) -> Iterator[None]:
    """Hold the lock of a stage and iteration while the body runs, and turn disk errors into a `UserError`.

    Args:
        stage: a key of `csrdata.pipeline.STAGES`.
        name: the iteration or policy; None for a stage that takes no name.
        share: the share of the stage's shards that this process makes; None for all.

    Raises:
        UserError: the stage or the share already runs for this name, the disk is full, or a file cannot be read or written.
    """
    again = f"csrdata run {stage}" + (f" --iteration {name}" if name else "")
    label = f"{stage}@{name}" if name else stage
    path = LOCKS / f"{stage}{f'-{name}' if name else ''}.json"
    with ExitStack() as held:
        if share is None:
            held.enter_context(refusals_in_words(stage, again=again))
            held.enter_context(_lock(path, label, again=again))
        else:
            again = f"{again} --shards {share}"
            own = path.with_stem(f"{path.stem}-{share.part}-of-{share.of}")
            held.enter_context(refusals_in_words(stage, again=again))
            held.enter_context(_lock(path, label, again=again, shared=True))
            held.enter_context(_lock(own, f"{label}, shards {share}", again=again))
        yield


@contextmanager
def _lock(path: Path, label: str, *, again: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock. The kernel releases it when this process ends, whatever ends it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o666), "r+", encoding="utf-8") as file:
        if is_held(file.fileno(), shared=shared):
            raise _busy(path, label, again=again)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        holder = {"host": platform.node(), "pid": os.getpid(), "since": since}
        file.truncate()
        file.write(json.dumps(holder) + "\n")
        file.flush()
        yield


def _busy(path: Path, label: str, *, again: str) -> UserError:
    """Return the error for a stage that already runs, with process id and start time as the lock file states them."""
    try:
        holder = read_json(path, made_by=again)
    except UserError:  # the other process is writing the file
        holder = {}
    pid, since = holder.get("pid", "unknown"), holder.get("since", "just now")
    host = holder.get("host", platform.node())
    elsewhere = "" if host == platform.node() else f" on {host}"
    return UserError(
        label,
        got=f"a run since {since} (process {pid}{elsewhere})",
        expected="one run at a time",
        do=f"wait for it, or end it{elsewhere} (kill {pid}), then: {again}",
    )
