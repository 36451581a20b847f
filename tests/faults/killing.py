"""A stage that is killed just before it puts a file in its place: a real process, a real SIGKILL.

Loading the model libraries takes seconds, so one process loads them once and forks for every case. It runs nothing itself:
a fork of a process whose libraries have started threads may hang.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.imports import ROOT


class Killer:
    """Runs stages in forked processes and kills them."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.killing"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(
        self,
        project: Path,
        stage: str,
        name: str | None,
        *,
        renames: int,
        events: Sequence[str] = ("os.rename",),
    ) -> int:
        """Run a stage and kill it before its rename number `renames`, from 1; return its exit code, -9 if it was killed.

        Args:
            project: the project's folder.
            stage: the stage.
            name: its iteration.
            renames: which of the events it does not live to see.
            events: what counts, by the names of Python's audit events.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("it has no pipes")
        self._process.stdin.write(f"{renames} {','.join(events)} {stage} {name or '-'} {project}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _serve() -> None:
    import datasets  # noqa: F401 - loaded here, so that forks need not
    import open_clip  # noqa: F401 - the same
    import peft  # noqa: F401 - the same
    import transformers  # noqa: F401 - the same
    import trl  # noqa: F401 - the same

    for line in sys.stdin:
        renames, events, stage, name, project = line.rstrip("\n").split(" ", 4)
        child = os.fork()
        if child == 0:
            _run(Path(project), stage, [] if name == "-" else [name], int(renames), set(events.split(",")))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(project: Path, stage: str, words: list[str], renames: int, events: set[str]) -> None:
    left = renames

    def count(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in events:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    from csrdata import pipeline

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(project)
    sys.addaudithook(count)
    code = 1
    try:
        pipeline.main(stage, words)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
