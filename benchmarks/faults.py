"""Random faults against every stage: SIGKILL, torn files, a full disk, read-only folders, clocks that jump, damaged files.

`python -m benchmarks.faults --seed S --trials N` plays N trials on copies of a small finished project, and prints how each
kind of fault ended. What must hold is in `tests/faults/trials.py`. `--engines` kills workers, drivers, Ray actors and Ray
nodes instead (`tests/faults/engines.py`). A defect is printed with its number; `--only NUMBER` plays that trial again.
`--write` puts the table into docs/benchmarks.md. A full disk is tried as root only, on a separate file system.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.page import put
from tests.faults import engines
from tests.faults.engines import VICTIMS
from tests.faults.killing import Defect, Killer
from tests.faults.project import finished, snapshot
from tests.faults.trials import KINDS, draw, play, survey

DEFECT = "DEFECT"
WAYS = ("same bytes", "one line", "killed", "one of the two: one line", DEFECT)


def main() -> None:
    """Play the trials, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="play one trial")
    parser.add_argument(
        "--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="only such faults"
    )
    parser.add_argument("--engines", action="store_true", help="kill what engines run in")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    numbers = range(arguments.trials) if arguments.only is None else [arguments.only]
    ways: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        trials = _engines if arguments.engines else _stages
        for kind, way in trials(Path(folder), arguments.seed, numbers, arguments.kinds):
            ways[kind, way] += 1
    kinds = VICTIMS if arguments.engines else tuple(KINDS)
    rows = _table(ways, kinds)
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if arguments.write:
        command = f"python -m benchmarks.faults --seed {arguments.seed} --trials {arguments.trials}"
        if arguments.engines:
            put("engine-faults", rows, command=f"{command} --engines")
        else:
            put("faults", rows, command=command)
    if any(way == DEFECT for _, way in ways):
        raise SystemExit(1)


def _stages(
    folder: Path, seed: int, numbers: Iterable[int], kinds: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Play trials of stages, and yield the kind of each fault and how its run ended."""
    with Killer() as one, Killer() as other:
        project = finished(folder / "whole")
        ground = survey(project, snapshot(project), one, folder)
        for number in numbers:
            trial = draw(seed, number, kinds=kinds)
            place = folder / f"trial-{number}"
            what = f"{trial.kind}, {trial.stage}"
            yield trial.kind, _played(number, what, place, partial(play, trial, ground, (one, other), place))


def _engines(
    folder: Path,
    seed: int,
    numbers: Iterable[int],
    kinds: Sequence[str],  # noqa: ARG001 - those of stages
) -> Iterator[tuple[str, str]]:
    """Play trials of engines, and yield the victim of each and how its run ended."""
    expected = engines.whole(folder / "whole")
    with engines.cluster() as nodes:
        for number in numbers:
            trial = engines.draw(seed, number)
            place = folder / f"trial-{number}"
            call = partial(engines.play, trial, expected, nodes, place)
            yield trial.victim, _played(number, trial.victim, place, call)


def _played(number: int, what: str, place: Path, call: Callable[[], str]) -> str:
    """Return how a trial's run ended, and print it."""
    try:
        way = call()
    except Defect as defect:
        way = DEFECT
        print(f"trial {number}: {what}: {defect}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
    print(f"trial {number}: {what}: {way}", file=sys.stderr, flush=True)
    return way


def _table(ways: Counter[tuple[str, str]], kinds: Sequence[str]) -> list[list[str]]:
    """Return how many trials of each kind of fault ended in each way."""
    rows = [["fault", "trials", *WAYS]]
    for kind in (*kinds, "all"):
        counts = [sum(ways[one, way] for one in kinds if kind in (one, "all")) for way in WAYS]
        rows.append([kind, str(sum(counts)), *map(str, counts)])
    return rows


if __name__ == "__main__":
    main()
