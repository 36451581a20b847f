"""Random faults against every stage: SIGKILL, torn files, a full disk, read-only folders, clocks that jump, damaged files.

`python -m benchmarks.faults --seed S --trials N` plays N trials on copies of a small finished project, and prints how each
kind of fault ended. What must hold is in `tests/faults/trials.py`. A defect is printed with its number; `--only NUMBER`
plays that trial again. Faults of a full disk need root (a file system of their own).
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults.killing import Killer
from tests.faults.project import finished, snapshot
from tests.faults.trials import KINDS, Defect, draw, play, survey

WAYS = ("same bytes", "one line", "killed", "one of the two: one line", "DEFECT")


def main() -> None:
    """Play the trials, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="play one trial")
    parser.add_argument(
        "--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="only such faults"
    )
    arguments = parser.parse_args()
    numbers = range(arguments.trials) if arguments.only is None else [arguments.only]
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder, Killer() as one, Killer() as other:
        project = finished(Path(folder, "whole"))
        ground = survey(project, snapshot(project), one, Path(folder))
        for number in numbers:
            trial = draw(arguments.seed, number, kinds=arguments.kinds)
            place = Path(folder, f"trial-{number}")
            try:
                way = play(trial, ground, (one, other), place)
            except Defect as defect:
                way = "DEFECT"
                print(f"trial {number}: {trial.kind}, {trial.stage}: {defect}", flush=True)
                shutil.rmtree(place, ignore_errors=True)
            found[trial.kind, way] += 1
            print(f"trial {number}: {trial.kind}, {trial.stage}: {way}", file=sys.stderr, flush=True)
    print(_table(found))
    if any(way == "DEFECT" for _, way in found):
        raise SystemExit(1)


def _table(found: Counter[tuple[str, str]]) -> str:
    lines = [f"| fault | trials | {' | '.join(WAYS)} |", "|" + "---|" * (len(WAYS) + 2)]
    for kind in KINDS:
        counts = [found[kind, way] for way in WAYS]
        lines.append(f"| {kind} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    totals = [sum(found[kind, way] for kind in KINDS) for way in WAYS]
    return "\n".join([*lines, f"| **all** | {sum(totals)} | {' | '.join(map(str, totals))} |"])


if __name__ == "__main__":
    main()
