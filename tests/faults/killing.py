"""A stage in a separate process that something happens to: a SIGKILL, a signal, a clock that jumps, an image that goes.

It happens just before one of the changes that the process makes to its project's files, or at a moment of real time.

Loading the model libraries takes seconds, so one process loads them once and forks for every run. It runs nothing itself:
a fork of a process whose libraries have started threads may hang.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.imports import ROOT

RENAMES = ("os.rename",)
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "ctypes.dlsym")
"""Audit events of changes to files; the exchange of two folders looks up its symbol first."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Defect(AssertionError):
    """Something wrong was taken for right, something finished was lost, or a user saw no line."""


@dataclass(frozen=True)
class Fault:
    """What happens to a run."""

    kind: str
    """`none`, `kill`, `interrupt`, `terminate`, `vanish`, `clock` (these before change number `at`), `timer`, `room`."""
    at: int = 0
    path: str = ""
    """`vanish`: the file that goes."""
    amount: float = 0.0
    """`clock`: by how many seconds it jumps; `timer`: after how many seconds the kernel ends the process; `room`: the
    largest file in bytes."""


NOTHING = Fault("none")


@dataclass(frozen=True)
class Run:
    """How a run ended."""

    code: int
    """Its exit code; less than 0 for the signal that ended it."""
    lines: list[str]
    """What it wrote to stderr, without the progress bars."""
    changes: int
    """How many changes it made to its project's files; -1 if it did not live to say so."""


class Killer:
    """Runs stages in forked processes and lets something happen to them."""

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
        self, project: Path, stage: str, name: str | None, *, renames: int, events: Sequence[str] = RENAMES
    ) -> int:
        """Run a stage and kill it before its rename number `renames`, from 1; return its exit code, -9 if it was killed.

        Args:
            project: the project's folder.
            stage: the stage.
            name: its iteration.
            renames: which of the events it does not live to see.
            events: what counts, by the names of Python's audit events.
        """
        return self.play(project, stage, name, Fault("kill", renames), events=events).code

    def play(
        self, project: Path, stage: str, name: str | None, fault: Fault, *, events: Sequence[str] = CHANGES
    ) -> Run:
        """Run a stage, let something happen to it, and return how it ended."""
        self.start(project, stage, name, fault, events=events)
        return self.wait()

    def start(
        self, project: Path, stage: str, name: str | None, fault: Fault, *, events: Sequence[str] = CHANGES
    ) -> None:
        """Start a run; `wait` returns how it ended. There is one at a time."""
        words = [stage] if name is None else [stage, name]
        wanted = {"project": str(project), "words": words, "fault": asdict(fault), "events": list(events)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()

    def wait(self) -> Run:
        """Return how the run that was started has ended."""
        assert self._process.stdout is not None
        return Run(**json.loads(self._process.stdout.readline()))


def said(text: str) -> list[str]:
    """Return the lines of a run's stderr, without the progress bars."""
    lines = [line.split("\r")[-1] for line in text.splitlines()]
    return [line for line in lines if line.strip() and "%|" not in line]


def _serve() -> None:
    import datasets  # noqa: F401 - loaded here, so that forks need not
    import open_clip  # noqa: F401 - the same
    import peft  # noqa: F401 - the same
    import transformers  # noqa: F401 - the same
    import trl  # noqa: F401 - the same

    for line in sys.stdin:
        wanted = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            count = Path(folder, "changes")
            # A pipe: a limit of the size of files does not hold for it.
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                _run(wanted, writing, count)
            os.close(writing)
            with os.fdopen(reading, encoding="utf-8", errors="replace") as stderr:
                lines = said(stderr.read())
            _, status = os.waitpid(child, 0)
            changes = int(count.read_text()) if count.exists() else -1
        run = Run(os.waitstatus_to_exitcode(status), lines, changes)
        sys.stdout.write(json.dumps(asdict(run)) + "\n")
        sys.stdout.flush()


def _run(wanted: dict[str, Any], stderr: int, count: Path) -> None:
    """Run a stage in this process, which ends with it."""
    from csrdata import pipeline

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(stderr, 2)
    os.close(stderr)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.chdir(wanted["project"])
    fault = Fault(**wanted["fault"])
    changes = _Changes(Path(wanted["project"]), set(wanted["events"]), at=fault.at, act=_act(fault))
    code = 1
    sys.addaudithook(changes.see)
    if fault.kind == "timer":
        signal.setitimer(
            signal.ITIMER_REAL, fault.amount
        )  # nobody handles SIGALRM: it ends the process at once
    if fault.kind == "room":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(fault.amount), resource.RLIM_INFINITY))
    try:
        pipeline.main(wanted["words"][0], wanted["words"][1:])
        code = 0
    except SystemExit as left:
        code = int(str(left.code))
    except BaseException:  # noqa: BLE001 - a defect, which the parent finds among the lines
        traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        changes.events = set()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        count.write_text(str(changes.seen))
        sys.stderr.flush()
        os._exit(code)


class _Changes:
    """Counts the changes to files of a project, and acts once, before one of them."""

    def __init__(self, project: Path, events: Iterable[str], *, at: int, act: Callable[[], None]) -> None:
        self.events = set(events)
        self.seen = 0
        self._inside = str(project)
        self._at, self._act = at, act

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of an audit event."""
        if event not in self.events or not self._is_of_the_project(event, arguments):
            return
        self.seen += 1
        if self.seen == self._at:
            self._act()

    def _is_of_the_project(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "ctypes.dlsym":
            return bool(arguments[1] == "renameat2")
        if event == "open" and not arguments[2] & _WRITING:
            return False
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # relative to an open folder, as `shutil.rmtree` does it
        text = os.fsdecode(path)
        return not text.startswith("/") or text.startswith(self._inside)


def _act(fault: Fault) -> Callable[[], None]:
    """Return what happens before a change."""
    acts: dict[str, Callable[[], None]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
        "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "vanish": lambda: Path(fault.path).unlink(missing_ok=True),
        "clock": lambda: _jump(fault.amount),
    }
    return acts.get(fault.kind, lambda: None)


def _jump(seconds: float) -> None:
    """Let the clock of this process jump, for whoever asks for the time from now on."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    _serve()
