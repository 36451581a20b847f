"""Coverage-guided fuzzing, by atheris, of every parser that reads what others wrote: `tests/faults/parsers.py`.

`python -m benchmarks.fuzz --inputs N` tries N inputs for each parser and prints how many were tried and refused; `--only
NAME` fuzzes one. Whatever a parser is given, it returns or refuses in one line; anything else is a defect, and the input is
kept in `--keep`. It needs `pip install 'csrdata[fuzz]'`.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.page import put


def main() -> None:
    """Fuzz the parsers one after the other, each in a separate process, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="for each parser")
    parser.add_argument("--seconds", type=int, default=60, help="at most, for each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="NAME")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-defects"))
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    parsers = _instrumented()
    rows, defects = [["parser", "inputs", "refused", "coverage features", "seconds"]], list[str]()
    total = 0
    for one in parsers:
        if arguments.only not in (None, one.name):
            continue
        start = time.monotonic()
        # Not a TemporaryDirectory, which the forked process would remove when it ends.
        folder = Path(tempfile.mkdtemp())
        found = _fuzz(one, folder, arguments)
        shutil.rmtree(folder)
        total += found["inputs"]
        counts = [f"{found['inputs']:,}", f"{found['refused']:,}", found["reached"]]
        rows.append([one.name, *counts, f"{time.monotonic() - start:.0f}"])
        print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
        if found["defect"]:
            defects.append(f"{one.name}: {found['defect']}")
    rows.append(["all", f"{total:,}", "", "", ""])
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if arguments.write:
        command = f"python -m benchmarks.fuzz --inputs {arguments.inputs} --seconds {arguments.seconds}"
        put("fuzz", rows, command=command)
    if defects:
        raise SystemExit("\n".join(defects))


def _instrumented() -> Any:
    """Import the parsers with counters in our code and in the parsers of the standard library."""
    import atheris
    import open_clip  # noqa: F401 - before the counters: what csrdata does not own is not counted, and loads faster
    import peft  # noqa: F401 - the same

    with atheris.instrument_imports(include=["csrdata", "json", "csv", "ruamel"]):
        from tests.faults.parsers import PARSERS
    return PARSERS


def _fuzz(parser: Any, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fuzz one parser in a forked process, which ends at its first defect."""
    counts, log = folder / "counts.json", folder / "log"
    limits = [f"-runs={arguments.inputs}", f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}"]
    bounds = ["-timeout=20", "-rss_limit_mb=6000", "-max_len=20000", f"-artifact_prefix={folder}/defect-"]
    child = os.fork()
    if child == 0:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        _try(parser, folder, counts, [*limits, *bounds])
    _, status = os.waitpid(child, 0)
    said = log.read_text(errors="replace")
    found: dict[str, Any] = {"inputs": 0, "refused": 0, "defect": ""}
    if counts.exists():
        found |= json.loads(counts.read_text())
    reached = re.findall(r" ft: (\d+)", said)
    found["reached"] = reached[-1] if reached else "?"
    if os.waitstatus_to_exitcode(status):
        arguments.keep.mkdir(exist_ok=True)
        for defect in folder.glob("defect-*"):
            shutil.copy(defect, arguments.keep / f"{parser.name}-{defect.name[:20]}")
        (arguments.keep / f"{parser.name}.log").write_text(said)
        telling = [line for line in said.splitlines() if re.match(r"\w*(Error|Exception|ALARM|ERROR)", line)]
        found["defect"] = (telling or ["see its log"])[0][:300]
    return found


def _try(parser: Any, folder: Path, counts: Path, options: list[str]) -> NoReturn:
    """Fuzz one parser in this process."""
    import atheris

    place, corpus = folder / "place", folder / "corpus"
    for made in (place, corpus):
        made.mkdir()
    parser.sound(place)
    (corpus / "sound").write_bytes((place / parser.file).read_bytes())
    tried, written = {"inputs": 0, "refused": 0}, [0.0]

    def once(content: bytes) -> None:
        (place / parser.file).write_bytes(content)
        tried["inputs"] += 1
        tried["refused"] += parser.refuses(place)
        if tried["inputs"] % 100 == 0 or time.monotonic() - written[-1] > 1:
            counts.write_text(json.dumps(tried))
            written[:] = [time.monotonic()]

    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()
    os._exit(1)  # it ends the process itself


if __name__ == "__main__":
    main()
