"""Each stage, each damage: the same bytes as without it, or one line and exit code 1; nothing finished is lost.

`make test` runs the first file of every stage and kind; `make test-all` runs every file.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from csrdata.storage.disk import PARTIAL
from tests.faults.damages import DAMAGES, Damage, empty, read_only, swapped
from tests.faults.killing import Killer
from tests.faults.project import Ended, run, snapshot
from tests.faults.stages import STAGES, Stage
from tests.storage.test_disk import file_size_limit

ALONE = ("scenes.parquet", "answers.parquet", "shares.parquet", "absent_mentions.csv")
"""Tables without a sibling of their format to be swapped with."""


def cases(kind: str) -> Iterator[ParameterSet]:
    """Give every stage with every one of its files and every damage; all but the first file are for `make test-all`."""
    for stage in STAGES:
        for position, file in enumerate(getattr(stage, kind)):
            for damage in DAMAGES:
                if damage is swapped and (not file.endswith((".parquet", ".csv")) or file.endswith(ALONE)):
                    continue
                marks = [pytest.mark.sweep] if position else []
                name = f"{stage}-{file.removeprefix('data/').replace('/', '.')}-{damage.__name__}"
                yield pytest.param(stage, file, damage, marks=marks, id=name)


def check_one_line(ended: Ended) -> str:
    """Check that a run ended with one line for the user, and return it."""
    said = [line for line in ended.lines if "Next: " in line]
    assert ended.code == 1
    assert len(said) == 1
    assert ended.lines[-1] == said[0]
    assert ": got " in said[0]
    assert not any("Traceback" in line for line in ended.lines)
    return said[0]


def check_nothing_is_left(project: Path) -> None:
    assert not list(project.rglob(f"*{PARTIAL}"))


@pytest.mark.parametrize(("stage", "file", "damage"), list(cases("inputs")))
def test_a_damaged_input(
    project: Path, whole: dict[str, str], stage: Stage, file: str, damage: Damage
) -> None:
    """The line names the input and the command that makes it; no other file of the project has changed."""
    damage(project / file)
    before = snapshot(project)
    ended = run(project, stage.stage, stage.name)
    if ended.code:
        said = check_one_line(ended)
        assert Path(file).name in said or Path(file).parent.as_posix() in said
        assert "dvc repro" in said.partition("Next: ")[2]
        assert snapshot(project) == before
    else:
        assert {name: snapshot(project)[name] for name in stage.outputs} == {
            name: whole[name] for name in stage.outputs
        }
    check_nothing_is_left(project)


@pytest.mark.parametrize(("stage", "file", "damage"), list(cases("outputs")))
def test_a_damaged_output(
    project: Path, whole: dict[str, str], stage: Stage, file: str, damage: Damage
) -> None:
    """It is made again, to the same bytes; where it cannot be told from a user's folder, one line says so."""
    damage(project / file)
    before = snapshot(project)
    ended = run(project, stage.stage, stage.name)
    if ended.code:
        assert "a folder that holds other things" in check_one_line(ended)
        assert snapshot(project) == before
    else:
        assert snapshot(project) == whole
    check_nothing_is_left(project)


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_no_room(project: Path, whole: dict[str, str], stage: Stage) -> None:
    """The line names the file; what was finished is kept, nothing is half-written, and with room the bytes are the same."""
    (project / stage.outputs[0]).unlink()
    before = snapshot(project)
    with file_size_limit(400):
        said = check_one_line(run(project, stage.stage, stage.name))
    assert "got File too large, expected room on the disk. Next: make room" in said
    assert f"csrdata run {stage.stage}" in said
    assert snapshot(project) == before
    check_nothing_is_left(project)
    if stage.stage != "train_dpo":
        assert run(project, stage.stage, stage.name).code == 0
        assert snapshot(project) == whole


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_read_only(project: Path, whole: dict[str, str], stage: Stage) -> None:
    """The line names the file and says what to change; nothing has changed, and afterwards the bytes are the same."""
    output = project / stage.outputs[0]
    output.unlink()
    before = snapshot(project)
    with read_only(project / "policies" if stage.stage == "train_dpo" else output.parent):
        said = check_one_line(run(project, stage.stage, stage.name))
    assert "expected a place that this user can read and write. Next: change its permissions" in said
    assert snapshot(project) == before
    check_nothing_is_left(project)
    if stage.stage != "train_dpo":
        assert run(project, stage.stage, stage.name).code == 0
        assert snapshot(project) == whole


def test_no_lock_can_be_taken(project: Path) -> None:
    """Where not even the lock can be written, the line names it."""
    (project / "logs").mkdir()
    with read_only(project / "logs"):
        assert check_one_line(run(project, "select_pairs", "1")).startswith("logs/locks: got ")


@pytest.mark.parametrize(
    ("stage", "renames"),
    [
        pytest.param(
            stage, renames, marks=[] if renames == 2 else [pytest.mark.sweep], id=f"{stage}-{renames}"
        )
        for stage in STAGES
        for renames in range(1, stage.renames + 1)
    ],
)
def test_killed(project: Path, whole: dict[str, str], killer: Killer, stage: Stage, renames: int) -> None:
    """Killed just before it puts a file in its place: the next run ends with the same bytes, and nothing is left over."""
    for output in stage.outputs:
        folder = project / output
        folder = folder.parents[1] if "adapters" in output else folder
        if stage.name and folder.parent.name == stage.name:
            shutil.rmtree(folder.parent, ignore_errors=True)
        elif folder.exists():
            folder.unlink()
    assert killer.run(project, stage.stage, stage.name, renames=renames) == -9
    assert run(project, stage.stage, stage.name).code == 0
    assert snapshot(project) == whole
    check_nothing_is_left(project)


def test_the_fixed_part_has_every_stage_and_damage() -> None:
    """What `make test` runs does not shrink unnoticed."""
    fixed = [case.values for kind in ("inputs", "outputs") for case in cases(kind) if not case.marks]
    assert {stage for stage, _, _ in fixed} == set(STAGES)
    assert {damage for _, _, damage in fixed} == set(DAMAGES) >= {empty}


@pytest.mark.parametrize(
    ("stage", "gone", "command"),
    [
        ("measure_signals", "data/generate_beams/1", "dvc repro generate_beams@1"),
        ("score_beams", "data/generate_beams/1", "dvc repro generate_beams@1"),
        ("score_beams", "data/measure_signals/1", "dvc repro measure_signals@1"),
        ("select_pairs", "data/score_beams/1", "dvc repro score_beams@1"),
        ("generate_beams", "policies/base", "dvc repro prepare"),
        ("measure_signals", "scorers/held_out", "dvc repro prepare"),
        (
            "train_dpo",
            "data/prepare/images",
            "put the image back, or sample again: dvc repro -f sample_prompts",
        ),
        ("evaluate_policy", "policies/1", "dvc repro train_dpo@1"),
        ("match_recall", "data/evaluate_policy/base", "dvc repro evaluate_base"),
        ("measure_attention", "data/evaluate_policy/1", "dvc repro evaluate_policy@1"),
    ],
)
def test_a_missing_folder_empties_no_output(project: Path, stage: str, gone: str, command: str) -> None:
    """The input is blamed, not the output, and the finished output is still there."""
    shutil.rmtree(project / gone)
    before = snapshot(project)
    said = check_one_line(run(project, stage, "1"))
    assert said.startswith(gone)
    assert said.endswith(f"Next: {command}")
    assert snapshot(project) == before
