"""Run arms: each as a project through `dvc repro`, several at a time if asked, and resumable after a kill at any point.

A run is done when its result file exists and states the parameters and the code of today. Runs of one seed take turns at
the stages up to the first search, which most arms share: the second one takes the results (`csrdata.ablation.sharing`).
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path

from csrdata import paths
from csrdata.ablation.collecting import is_of_today
from csrdata.ablation.projects import Campaign, Run, make_project
from csrdata.ablation.result import read_result
from csrdata.ablation.sharing import Ran, adopt, publish, runs_of
from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.graph import LAST, steps
from csrdata.pipeline.staleness import LOCK
from csrdata.text import one_line

LOG = "log.txt"
QUOTE = "'"
SEARCH_STAGES = ("generate_beams", "measure_signals")
"""Of the first iteration, and with those of the base: runs of one seed take turns at these stages."""
HEAVY = ("data", "policies", "scorers")
"""Folders of a project that DVC's cache holds too."""


class Failed(Exception):
    """DVC or a stage of a run failed; the message is what it said last."""


class Busy(Failed):
    """Another process runs it: a lock that its children inherit says so."""


class Runner:
    """Runs of a campaign, and the processes that they started."""

    def __init__(self, campaign: Campaign, *, any_code: bool = False, keep_files: bool = False) -> None:
        """Start nothing yet.

        Args:
            campaign: what the runs belong to.
            any_code: whether a result that other code has made counts as done.
            keep_files: whether a finished project keeps the files that DVC's cache holds too.
        """
        self.campaign = campaign
        self.any_code = any_code
        self.keep_files = keep_files
        self._started: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._locks: dict[str, int] = {}
        self._stopped = False

    def run(self, runs: Sequence[Run], *, jobs: int = 1) -> dict[str, str]:
        """Run what is not done; return what failed, by the name of the run, with the reason.

        Args:
            runs: in this order, `jobs` at a time.
            jobs: 1 or more.
        """
        failed: dict[str, str] = {}
        with ThreadPoolExecutor(jobs) as pool:
            waiting = {pool.submit(self._run_or_skip, run): run for run in runs}
            try:
                for done in as_completed(waiting):
                    run = waiting[done]
                    try:
                        done.result()
                    except Busy as error:
                        say(f"{run.name}: {error}")
                    except (Failed, UserError) as error:
                        failed[run.name] = str(error)
                        say(f"{run.name}: failed. {error}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()
                raise
        return failed

    def is_done(self, run: Run) -> bool:
        """Return whether the result of a run is there, of the parameters and the code of today."""
        path = self.campaign.result(run)
        if not path.is_file():
            return False
        params, _ = self.campaign.params(run)
        try:
            result = read_result(path)
        except UserError:  # damaged, or of another version: it is written again
            return False
        return is_of_today(result, params, any_code=self.any_code)

    def reach(self, run: Run, targets: Sequence[str] | None) -> Path:
        """Bring the project of a run to some stages, and return its folder. What others have made is taken from them.

        Args:
            run: it is not running elsewhere.
            targets: stages as DVC names them; None: all.

        Raises:
            Failed: DVC or a stage failed.
            Busy: another process runs it.
        """
        with opened(self.campaign.folder / "locks" / run.name.replace("/", "-")) as lock:
            if not is_taken(lock):
                raise Busy(f"another process runs it, in {self.campaign.project(run)}")
            self._locks[run.name] = lock
            try:
                return self._reach(run, targets)
            finally:
                del self._locks[run.name]

    def tidy(self, run: Run) -> None:
        """Remove the files of a finished project that DVC's cache holds too, unless they are to be kept."""
        for name in () if self.keep_files else HEAVY:
            shutil.rmtree(self.campaign.project(run) / name, ignore_errors=True)

    def _run_or_skip(self, run: Run) -> None:
        """Run one arm with one seed, and write its result, unless it is there."""
        if self.is_done(run):
            say(f"{run.name}: done")
            return
        params, _ = self.campaign.params(run)
        self.reach(run, _base_stages(params) if run.arm.iterations == 0 else None)
        self._collect(run)
        self.tidy(run)
        say(f"{run.name}: finished, {self.campaign.result(run)}")

    def _reach(self, run: Run, targets: Sequence[str] | None) -> Path:
        project = self.campaign.project(run)
        params, raw = make_project(self.campaign, run)
        runs = runs_of(project, params, raw)
        shared = [*_base_stages(params), *(() if run.arm.iterations == 0 else _search_stages(params))]
        with opened(self.campaign.folder / "locks" / f"seed-{run.seed}") as turn:
            while not is_taken(turn):
                self._check()
                time.sleep(1)
            self._share(run, runs)
            self._repro(run, shared)
            publish(self.campaign.store, project, runs, names=shared)
        if targets is None or set(targets) - set(shared):
            self._repro(run, targets or [])
            publish(self.campaign.store, project, runs, names=targets)
        return project

    def _share(self, run: Run, runs: Sequence[Ran]) -> None:
        """Take the results of others, and bring what the project has into its folder."""
        project = self.campaign.project(run)
        found = adopt(self.campaign.store, project, runs)
        if found.taken:
            say(f"{run.name}: {len(found.taken)} of {len(runs)} stages are shared: {', '.join(found.taken)}")
        if found.started:
            say(f"{run.name}: {', '.join(found.started)} starts from what another arm has made")
        if here := [*found.present, *found.started]:
            try:
                self._call(run, [sys.executable, "-m", "dvc", "checkout", "--force", *here])
            except Failed:  # the cache lacks something: make it again
                (project / LOCK).unlink(missing_ok=True)

    def _repro(self, run: Run, targets: Sequence[str]) -> None:
        """Run `dvc repro` for some stages, or for all, and say which stage runs."""

        def tell(line: str) -> None:
            if line.startswith("Running stage '"):
                say(f"{run.name}: {line.split(QUOTE)[1]}")

        self._call(run, [sys.executable, "-m", "dvc", "repro", *targets], tell=tell)

    def _collect(self, run: Run) -> None:
        """Write the result of a finished project; a separate process reads it, as it works in the project's folder."""
        campaign = self.campaign
        words = [
            "--profile",
            campaign.profile,
            "--folder",
            str(campaign.top),
            "--arms",
            str(campaign.arms.file),
        ]
        words += ["--results", str(campaign.results), *(["--quick"] if campaign.quick else [])]
        command = [sys.executable, "-m", "csrdata.ablation", "collect", run.arm.name, str(run.seed), *words]
        self._call(run, command, folder=Path())

    def _call(
        self,
        run: Run,
        words: Sequence[str],
        *,
        folder: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run a command in a project, or in another folder; its output goes to the project's log, and each line to `tell`.

        Raises:
            Failed: it ended with another exit code than 0, or this runner was stopped.
        """
        project = self.campaign.project(run)
        last: list[str] = []
        with (project / LOG).open("a", encoding="utf-8", buffering=1) as log:
            process = self._start(run, words, project if folder is None else folder)
            try:
                for line in process.stdout or ():
                    log.write(line)
                    tell(line)
                    last = [*last[-4:], line.split("\r")[-1].strip()]
                code = process.wait()
            except BaseException:  # a signal: the process has a session of its own, and would go on
                self._stop()
                raise
        with self._lock:
            self._started.discard(process)
        if code:
            said = one_line(" ".join(line for line in last if line) or f"exit code {code}", limit=400)
            raise Failed(f"{said} (all of it: {project / LOG})")

    def _start(self, run: Run, words: Sequence[str], folder: Path) -> "subprocess.Popen[str]":
        with self._lock:
            self._check()
            process = subprocess.Popen(  # noqa: S603 - our own commands
                words,
                cwd=folder,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=[lock for name, lock in self._locks.items() if name == run.name],
            )
            self._started.add(process)
            return process

    def _check(self) -> None:
        if self._stopped:
            raise Failed("stopped")

    def _stop(self) -> None:
        """End every process that was started, with those that it started."""
        with self._lock:
            self._stopped = True
            for process in self._started:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)


def _base_stages(params: Params) -> list[str]:
    """Return the stages up to the figures of the base, as DVC names them."""
    runs = [step for step in steps(params) if step.node.argument in {None, paths.BASE}]
    return [step.name for step in runs if step.name not in LAST]


def _search_stages(params: Params) -> list[str]:
    """Return the stages up to the signals of the first search: most arms have them in common."""
    first = next(iter(params.iterations))
    found = [step.name for step in steps(params) if step.node.argument == first]
    return [name for name in found if name.partition("@")[0] in SEARCH_STAGES]


def _environment() -> dict[str, str]:
    """Return the environment of a stage: `csrdata` is the one of this Python, and output comes line by line."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file to lock, and yield its descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_taken(descriptor: int) -> bool:
    """Lock an open file, and return whether that worked; the lock holds until this process and its heirs close it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
