"""Random faults against every stage: SIGKILL, torn files, a full disk, read-only folders, clocks that jump, damaged files.

`python -m benchmarks.faults --seed S --trials N` plays N trials on copies of a small finished project, and prints how each
kind of fault ended. What must hold is in `tests/faults/trials.py`. A defect is printed with its number; `--only NUMBER`
plays that trial again. `--write` puts the table into docs/benchmarks.md. A full disk is tried as root only, on a separate
file system.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.page import put
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
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
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
    rows = _table(found)
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if arguments.write:
        command = f"python -m benchmarks.faults --seed {arguments.seed} --trials {arguments.trials}"
        put("faults", rows, command=command)
    if any(way == "DEFECT" for _, way in found):
        raise SystemExit(1)


def _table(found: Counter[tuple[str, str]]) -> list[list[str]]:
    """Return how many trials of each kind of fault ended in each way."""
    rows = [["fault", "trials", *WAYS]]
    for kind in (*KINDS, "all"):
        counts = [sum(found[one, way] for one in KINDS if kind in (one, "all")) for way in WAYS]
        rows.append([kind, str(sum(counts)), *map(str, counts)])
    return rows


if __name__ == "__main__":
    main()
