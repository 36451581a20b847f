"""Random faults: each is drawn from a seed and a number, played on a copy of the finished project, and checked.

Whatever happens, a run ends in one of these ways:

- with the same bytes of a run without a fault;
- with one line for the user and a non-zero exit code: then every file is as it was before or as it should become, and
  nothing half-written is left;
- killed: then it may leave anything.

When the cause is gone, the next run ends with the same bytes.
"""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csrdata.storage.disk import PARTIAL
from tests.faults.damages import read_only
from tests.faults.killing import NOTHING, Defect, Fault, Killer, Run
from tests.faults.project import copy, snapshot
from tests.faults.stages import STAGES, Stage

KINDS = {
    "killed before a change": 30,
    "killed at a moment": 16,
    "killed, and what it was writing is torn": 12,
    "interrupted": 6,
    "terminated": 4,
    "an image disappears": 6,
    "the clock jumps": 6,
    "a file may not grow": 5,
    "the disk is full": 5,
    "a folder is read-only": 4,
    "an input is damaged": 8,
    "an output is damaged": 8,
    "two runs at once": 4,
}
"""What can happen, and how often."""

UNFINISHED = f"data/train_dpo/1{PARTIAL}"
"""What a training run that did not end keeps for the next one, which goes on from it and removes it."""
YEAR = 3.2e7
"""In seconds."""


@dataclass(frozen=True)
class Trial:
    """One trial: seed and number say everything about it."""

    seed: int
    number: int
    kind: str
    """A key of `KINDS`."""
    stage: Stage
    parts: random.Random
    """The source of what else is drawn for it."""


@dataclass(frozen=True)
class Ground:
    """What all trials share."""

    project: Path
    """A finished project; nobody changes it."""
    whole: Mapping[str, str]
    """The hash of each of its files."""
    changes: Mapping[str, int]
    """How many changes to files each stage makes when all of its outputs are to be made."""
    seconds: Mapping[str, float]
    """How long that takes."""


def draw(
    seed: int, number: int, *, kinds: Sequence[str] = tuple(KINDS), stages: Sequence[Stage] = STAGES
) -> Trial:
    """Return trial `number` of a seed, of one of the kinds and stages."""
    chance = random.Random(f"{seed}:{number}")
    (kind,) = chance.choices(kinds, weights=[KINDS[one] for one in kinds])
    return Trial(seed, number, kind, chance.choice(stages), chance)


def survey(
    project: Path, whole: Mapping[str, str], killer: Killer, folder: Path, *, stages: Sequence[Stage] = STAGES
) -> Ground:
    """Run every stage once without a fault, and count the changes that it makes."""
    changes, seconds = {}, {}
    for stage in stages:
        root = copy(project, folder / "survey")
        remove_outputs(root, stage)
        start = time.perf_counter()
        run = killer.play(root, stage.stage, stage.name, NOTHING)
        changes[str(stage)], seconds[str(stage)] = run.changes, time.perf_counter() - start
        _require(run.code == 0 and snapshot(root) == whole, f"without a fault: {run}")
        shutil.rmtree(root)
    return Ground(project, whole, changes, seconds)


def play(trial: Trial, ground: Ground, killers: Sequence[Killer], folder: Path) -> str:
    """Play a trial in a folder, and return how the run with the fault ended.

    Args:
        trial: what happens.
        ground: what it happens to.
        killers: the first runs the stage; the second one is needed for two runs at once.
        folder: a new folder, which is removed.

    Raises:
        Defect: something that must hold did not.
    """
    stage, killer = trial.stage, killers[0]
    with _place(trial, ground, folder) as root:
        _take_away(trial, root)
        damaged = _damage(trial, root)
        before = snapshot(root)
        with _in_the_way(trial, root):
            if trial.kind == "two runs at once":
                runs = _two_runs(trial, ground, root, killers)
            else:
                runs = [killer.play(root, stage.stage, stage.name, _fault(trial, ground))]
            ways = [_way(run) for run in runs]
            if "killed" not in ways:
                _check_files(root, stage, before, ground)
        _check_runs(trial, ways, root, ground)
        if trial.kind.startswith("killed, and"):
            _tear(trial, root)
        _put_back(damaged, root, stage, ground)
        _check_next_run(root, stage, ground, killer)
    return ways[0] if len(set(ways)) == 1 else "one of the two: one line"


def remove_outputs(root: Path, stage: Stage) -> None:
    """Remove all that a stage makes."""
    for output in stage.outputs:
        path = root / output
        path = path.parents[1] if "adapters" in output else path
        if stage.name and path.parent.name == stage.name:
            shutil.rmtree(path.parent, ignore_errors=True)
        elif path.is_file():
            path.unlink()


@contextlib.contextmanager
def _place(trial: Trial, ground: Ground, folder: Path) -> Iterator[Path]:
    """Yield a copy of the project; where the disk is to be full, on a separate file system, for which one must be root."""
    folder.mkdir(parents=True)
    own = trial.kind == "the disk is full" and os.geteuid() == 0
    if own:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder], check=True)
    try:
        yield copy(ground.project, folder / "project")
    finally:
        if own:
            subprocess.run(["umount", folder], check=True)
        shutil.rmtree(folder)


def _take_away(trial: Trial, root: Path) -> None:
    """Let outputs be missing: mostly all of them, or one, or none."""
    how = trial.parts.random()
    if how < 0.7 and trial.kind != "an output is damaged":
        remove_outputs(root, trial.stage)
    elif how < 0.85:
        (root / trial.parts.choice(trial.stage.outputs)).unlink()


def _damage(trial: Trial, root: Path) -> str | None:
    """Damage a file that the stage reads or writes, and return it."""
    files = {"an input is damaged": trial.stage.inputs, "an output is damaged": trial.stage.outputs}
    there = [file for file in files.get(trial.kind, ()) if (root / file).is_file()]
    if not there:
        return None
    damaged = trial.parts.choice(there)
    hurt(root / damaged, trial.parts)
    return damaged


def hurt(path: Path, chance: random.Random) -> None:
    """Damage a file at random: cut, changed, blank, longer, or gone."""
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content) + 1)
    match chance.choice(("cut", "flip", "blank", "append", "gone")):
        case "cut":
            path.write_bytes(content[:start])
        case "flip":
            for _ in range(chance.choice((1, 8, 100))):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
        case "blank":
            length = min(chance.choice((16, 512, 4096)), len(content) - start)
            content[start : start + length] = bytes(length)
            path.write_bytes(content)
        case "append":
            path.write_bytes(content + chance.randbytes(chance.choice((1, 16, 4096))))
        case _:
            path.unlink()


def _fault(trial: Trial, ground: Ground) -> Fault:
    """Draw what happens during the run."""
    chance, stage = trial.parts, str(trial.stage)
    at = chance.randint(1, ground.changes[stage])
    images = [path for path in ground.whole if path.endswith(".png")]
    faults: dict[str, Callable[[], Fault]] = {
        "killed before a change": lambda: Fault("kill", at),
        "killed at a moment": lambda: Fault("timer", amount=chance.uniform(0.001, ground.seconds[stage])),
        "killed, and what it was writing is torn": lambda: Fault("kill", at),
        "interrupted": lambda: Fault("interrupt", at),
        "terminated": lambda: Fault("terminate", at),
        "an image disappears": lambda: Fault("vanish", at, path=chance.choice(images)),
        "the clock jumps": lambda: Fault(
            "clock", at, amount=chance.choice((-1, 1)) * chance.uniform(1, 20 * YEAR)
        ),
        "a file may not grow": lambda: Fault(
            "room", amount=chance.choice((1, 100, 400, 4_000, 20_000, 100_000))
        ),
    }
    return faults[trial.kind]() if trial.kind in faults else NOTHING


@contextlib.contextmanager
def _in_the_way(trial: Trial, root: Path) -> Iterator[None]:
    """Fill the disk, or let a folder be read-only, while the run lasts."""
    if trial.kind == "the disk is full" and os.geteuid() == 0:
        disk = root.parent
        used = shutil.disk_usage(disk).used + trial.parts.choice((0, 4, 8, 16, 40, 100, 300)) * 1024
        subprocess.run(["mount", "-o", f"remount,size={used}", disk], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
    elif trial.kind == "a folder is read-only":
        folders = sorted({(root / output).parent for output in trial.stage.outputs})
        there = [one if one.is_dir() else one.parent for one in folders]
        with read_only(trial.parts.choice([one for one in there if one.is_dir()])):
            yield
    else:
        yield


def _two_runs(trial: Trial, ground: Ground, root: Path, killers: Sequence[Killer]) -> list[Run]:
    """Start two runs of the stage, the second one a moment after the first."""
    stage = trial.stage
    for killer in killers:
        killer.start(root, stage.stage, stage.name, NOTHING)
        time.sleep(trial.parts.uniform(0, ground.seconds[str(stage)]))
    return [killer.wait() for killer in killers]


def _way(run: Run) -> str:
    """Return how a run ended."""
    if run.code < 0:
        return "killed"
    if run.code == 0:
        return "same bytes"
    _require(not any("Traceback" in line for line in run.lines), f"a traceback: {run}")
    nexts = [line for line in run.lines if "Next: " in line]
    _require(len(nexts) == 1 and run.lines[-1] == nexts[0], f"more than one line, or none: {run}")
    return "one line"


def _check_runs(trial: Trial, ways: list[str], root: Path, ground: Ground) -> None:
    """Check what a run that says that it succeeded has left, and that one of two runs succeeds."""
    if "same bytes" in ways:
        now = snapshot(root)
        wrong = [file for file in trial.stage.outputs if now.get(file) != ground.whole[file]]
        _require(not wrong, f"exit code 0, and other bytes in {wrong}")
    if trial.kind == "two runs at once":
        _require("same bytes" in ways, "neither of two runs succeeded")


def _check_files(root: Path, stage: Stage, before: Mapping[str, str], ground: Ground) -> None:
    """Check that every file is as it was or as it should become, and that nothing is half-written."""
    for file, hashed in snapshot(root).items():
        if file.startswith(UNFINISHED) or (file in stage.outputs and file.endswith("/manifest.json")):
            continue  # a store's manifest lists the shards that were finished; the next run reads it
        _require(hashed in (before.get(file), ground.whole.get(file)), f"{file} is neither old nor new")
    gone = [file for file in before if not (root / file).exists() and not file.endswith(".png")]
    lost = [file for file in gone if file not in _made_by(stage, ground)]
    _require(not lost, f"{lost} are gone")
    left = [one for one in root.rglob(f"*{PARTIAL}") if one.relative_to(root).as_posix() != UNFINISHED]
    _require(not left, f"something half-written is left: {left}")


def _made_by(stage: Stage, ground: Ground) -> set[str]:
    """Return all files in the folders of a stage's outputs."""
    folders = [file.rpartition("/")[0] for file in stage.outputs if stage.name and f"/{stage.name}/" in file]
    return {
        file for file in ground.whole if file in stage.outputs or any(file.startswith(one) for one in folders)
    }


def _tear(trial: Trial, root: Path) -> None:
    """Cut what was being written, as when the power fails."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and PARTIAL in path.as_posix():
            os.truncate(path, trial.parts.randint(0, path.stat().st_size))


def _put_back(damaged: str | None, root: Path, stage: Stage, ground: Ground) -> None:
    """Put a damaged input and images that disappeared back; a damaged output is the stage's own affair."""
    if damaged in stage.inputs:
        shutil.copy(ground.project / damaged, root / damaged)
    for file in ground.whole:
        if file.endswith(".png") and not (root / file).exists():
            shutil.copy(ground.project / file, root / file)


def _check_next_run(root: Path, stage: Stage, ground: Ground, killer: Killer) -> None:
    """Check that the next run ends with the same bytes.

    A folder that a fault left without the file that tells whose it is may be refused in one line; the user then removes it.
    """
    run = killer.play(root, stage.stage, stage.name, NOTHING)
    if _way(run) == "one line" and "a folder that holds other things" in run.lines[-1]:
        remove_outputs(root, stage)
        run = killer.play(root, stage.stage, stage.name, NOTHING)
    _require(run.code == 0, f"the next run: {run}")
    now = snapshot(root)
    wrong = sorted(file for file in {*now, *ground.whole} if now.get(file) != ground.whole.get(file))
    _require(not wrong, f"after the next run, other bytes in {wrong}")
    _require(not list(root.rglob(f"*{PARTIAL}")), "after the next run, something half-written is left")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Defect(otherwise)
