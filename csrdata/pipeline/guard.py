"""A lock and one-line disk errors around each run of a stage.

Two runs of the same stage and iteration would write the same files. The second one ends at once and names the process
that holds the lock. Different stages or iterations may run at the same time, as `dvc repro` may do.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.storage.disk import is_held, read_json, refusals_in_words

LOCKS = paths.LOGS / "locks"


@contextmanager
def guarded(stage: str, name: str | None) -> Iterator[None]:
    """Hold the lock of a stage and iteration while the body runs, and turn disk errors into a `UserError`.

    Args:
        stage: a key of `csrdata.pipeline.STAGES`.
        name: the iteration or policy; None for a stage that takes no name.

    Raises:
        UserError: the stage already runs for this name, the disk is full, or a file cannot be read or written.
    """
    again = f"csrdata run {stage}" + (f" --iteration {name}" if name else "")
    with refusals_in_words(stage, again=again), _alone(stage, name, again=again):
        yield


@contextmanager
def _alone(stage: str, name: str | None, *, again: str) -> Iterator[None]:
    """Hold the lock of a stage. The kernel releases it when this process ends, whatever ends it."""
    path = LOCKS / f"{stage}{f'-{name}' if name else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o666), "r+", encoding="utf-8") as file:
        if is_held(file.fileno()):
            raise _busy(path, stage, name, again=again)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        file.truncate()
        file.write(f'{{"pid": {os.getpid()}, "since": "{since}"}}\n')
        file.flush()
        yield


def _busy(path: Path, stage: str, name: str | None, *, again: str) -> UserError:
    """Return the error for a stage that already runs, with process id and start time as the lock file states them."""
    try:
        holder = read_json(path, made_by=again)
    except UserError:  # the other process is writing the file
        holder = {}
    pid, since = holder.get("pid", "unknown"), holder.get("since", "just now")
    return UserError(
        f"{stage}@{name}" if name else stage,
        got=f"a run since {since} (process {pid})",
        expected="one run at a time",
        do=f"wait for it, or end it (kill {pid}), then: {again}",
    )
