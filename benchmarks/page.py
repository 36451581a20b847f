"""Writes a table of measured figures into docs/benchmarks.md, between the two marks of its name."""

import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"


def put(name: str, rows: Sequence[Sequence[str]], *, command: str, machine: str | None = None) -> None:
    """Replace the table `name` of the page: a line on command, date, revision and machine, then the rows.

    Args:
        name: of the marks `<!-- NAME: ... -->` and `<!-- end of NAME -->`.
        rows: cells; the first row is the header.
        command: what was run.
        machine: what it ran on; None for this machine's cores and load.
    """
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(f"<!-- {name}: written by the command below -->\n")
    _, behind = rest.split(f"<!-- end of {name} -->")
    header, *others = (f"| {' | '.join(row)} |" for row in rows)
    lines = [_said(command, machine), "", header, f"|{'---|' * len(rows[0])}", *others]
    start = f"<!-- {name}: written by the command below -->\n"
    PAGE.write_text(f"{before}{start}{chr(10).join(lines)}\n<!-- end of {name} -->{behind}", encoding="utf-8")


def _said(command: str, machine: str | None) -> str:
    """Return one line on what was run, when, on which revision, and on what or with which load."""
    words = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(words, capture_output=True, text=True, check=False, cwd=PAGE.parent)  # noqa: S603
    revision = found.stdout.strip() or "no git revision"
    day = datetime.now(UTC).date()
    if machine is not None:
        return f"`{command}`, {day}, at {revision}, on {machine}:"
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[1]
    return (
        f"`{command}`, {day}, at {revision}, on {cores} core{'s' * (cores > 1)}, with a load of {load:.0f}:"
    )
