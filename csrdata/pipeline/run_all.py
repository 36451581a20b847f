"""`csrdata run --all`: every run of a stage that is missing or out of date, in the order of the DAG, without DVC.

dvc.lock is kept as DVC keeps it, so that `dvc status` and this agree: use either, or both in turn. Each run is a process of
its own, as under DVC: one stage's libraries and random state never reach the next.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from csrdata.entry import say
from csrdata.errors import UserError
from csrdata.params import FILE, load_params
from csrdata.pipeline.dag import CODE, Form, write_project_files
from csrdata.pipeline.graph import Step, steps
from csrdata.pipeline.guard import guarded
from csrdata.pipeline.staleness import LOCK, Project, record, why_stale
from csrdata.pipeline.written import files_now
from csrdata.storage.dvc_lock import read_lock, write_stage
from csrdata.strict_yaml import read_yaml
from csrdata.text import one_line


class StageFailed(Exception):
    """A stage ended with an exit code other than 0."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


def need_project() -> None:
    """Refuse a folder that `csrdata init` did not make."""
    if not CODE.is_file():
        raise UserError(
            str(CODE),
            got="no such file",
            expected="a project of csrdata init",
            do="csrdata init DIR, then: cd DIR",
        )


def form_here() -> Form:
    """Return which form of dvc.yaml the present folder has: a project's, or the repository's.

    Raises:
        UserError: it is neither.
    """
    if not CODE.is_file() and Path("stages").is_dir():
        return Form.REPOSITORY
    need_project()
    return Form.PROJECT


def run_all(*, dry_run: bool = False) -> int:
    """Run what is out of date; return how many runs that were (or would be).

    Args:
        dry_run: only say what would run and why. Runs after the first stale one are said to follow it if they read what
            it writes.

    Raises:
        UserError: params.yaml is wrong, or the folder is not a project.
        StageFailed: a stage failed; what was finished before it is kept and recorded.
    """
    params, form = load_params(), form_here()
    project = Project(params, read_yaml(FILE), form)
    if form is Form.PROJECT and not dry_run:
        for path in write_project_files(params):
            say(f"{path}: written anew for params.yaml and the installed csrdata")
    ran, touched = 0, set[str]()
    with guarded("run", "all"):
        lock = read_lock(LOCK) if LOCK.is_file() else {}
        for step in steps(params):
            reason = why_stale(step, lock, project)
            if reason is None and dry_run:
                reason = _follows(step, touched)
            if reason is None:
                say(f"{step.name}: up to date")
                continue
            ran += 1
            touched |= {output.path for output in step.node.outputs}
            say(f"{step.name}: {'would run' if dry_run else 'running'}, {reason}")
            if not dry_run:
                _run(step)
                write_stage(LOCK, step.name, record(step, project))
        if not dry_run:
            _fill_cache()
    return ran


def _fill_cache() -> None:
    """Put the outputs into DVC's cache where DVC is installed: it takes an output outside its cache for a changed one."""
    if find_spec("dvc") is None or not Path(".dvc").is_dir():
        return
    words = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)  # noqa: S603 - fixed words
    if done.returncode:
        reason = one_line(done.stderr.strip() or f"exit code {done.returncode}", limit=300)
        say(f"dvc commit failed, so DVC would run the stages again: {reason}. Next: dvc commit --force")


def _follows(step: Step, touched: set[str]) -> str | None:
    """Return the input of a step that an earlier stale run writes, in words."""
    for path in step.node.inputs:
        if any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in touched):
            return f"{path} may change"
    return None


def _run(step: Step) -> None:
    """Run a step in a new process; then remove files of an earlier run from the folders that the step rewrites."""
    words = ["run", step.node.stage]
    if step.node.argument:
        words += ["--iteration", step.node.argument]
    before = files_now()
    done = subprocess.run([sys.executable, "-m", "csrdata", *words], check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise StageFailed(done.returncode)
    whole = [Path(output.path) for output in step.node.outputs if not output.persist]
    for path, facts in files_now().items():
        if before.get(path) == facts and any(folder in Path(path).parents for folder in whole):
            Path(path).unlink()
