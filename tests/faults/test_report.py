"""`report`: damaged tables are one line, and a killed run leaves the older page or the new one, never a half."""

from pathlib import Path

import polars as pl
import pytest

from csrdata.records import Pair
from csrdata.storage.tables import read_rows, write_rows
from tests.faults.damages import DAMAGES, Damage, deleted, swapped
from tests.faults.killing import Killer
from tests.faults.project import run, snapshot
from tests.faults.test_sweep import check_nothing_is_left, check_one_line

PAGE = "data/report/index.html"
PAIRS = "data/select_pairs/1/pairs.parquet"
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "ctypes.dlsym")
"""What changes the file system; the exchange of two folders looks up its symbol first."""
FILES = (
    PAIRS,
    "data/select_pairs/1/dropped.parquet",
    "data/generate_beams/1/00000.parquet",
    "data/score_beams/1/00000.parquet",
    "data/sample_prompts/truth.parquet",
    "metrics/summary.json",
)


def _report(project: Path) -> dict[str, str]:
    return {name: value for name, value in snapshot(project).items() if name.startswith("data/report/")}


def _leave_one_out(project: Path) -> None:
    """Change the pairs, so that the page changes."""
    pairs = read_rows(project / PAIRS, Pair, made_by="")
    write_rows(project / PAIRS, pairs[1:], Pair)


def test_killed(project: Path, killer: Killer, tmp_path: Path) -> None:
    """Killed before each change of the file system, in turn: the older page or the new one; then the new one, alone."""
    assert run(project, "report", None).code == 0
    older = _report(project)
    _leave_one_out(project)
    left = []
    for change in range(1, 100):
        if killer.run(project, "report", None, renames=change, events=CHANGES) == 0:
            break
        left.append(_report(project))
    newer = _report(project)
    assert older != newer
    assert len(left) > 5, "it was not killed where it matters"
    assert all(page in (older, newer) for page in left)
    assert left[0] == older
    assert run(project, "report", None).code == 0
    assert _report(project) == newer
    check_nothing_is_left(project)


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one is not swapped])
def test_a_damaged_input(project: Path, damage: Damage) -> None:
    """Whatever table or file it is, the line names it, and the older page stays; a page that can do without it says nothing."""
    assert run(project, "report", None).code == 0
    before = _report(project)
    for file in FILES:
        content = (project / file).read_bytes()
        damage(project / file)
        ended = run(project, "report", None)
        if ended.code:
            said = check_one_line(ended)
            if file != PAIRS or damage is not deleted:  # an iteration without that file has no pairs
                assert Path(file).name in said or Path(file).parent.as_posix() in said, said
            assert _report(project) == before
        else:
            assert damage is deleted, f"{damage.__name__} {file} was not noticed"
            before = _report(project)
        (project / file).write_bytes(content)
    check_nothing_is_left(project)


def test_a_foreign_picture_is_counted(project: Path) -> None:
    """A file that is no image is counted as missing, and the page is written."""
    image = pl.read_parquet(project / PAIRS)["image"][0]
    (project / image).write_text("no picture", encoding="utf-8")
    assert run(project, "report", None).code == 0
    assert (project / PAGE).is_file()
