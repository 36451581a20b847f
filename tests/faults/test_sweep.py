"""Each stage, each damage: the same bytes as without it, or one line and exit code 1; nothing finished is lost.

`make test` runs the first file of every stage and kind; `make test-all` runs every file.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from csrdata.storage.disk import PARTIAL
from tests.faults.damages import DAMAGES, Damage, empty, read_only, swapped
from tests.faults.killing import Killer
from tests.faults.project import Ended, run, snapshot
from tests.storage.test_disk import file_size_limit


@dataclass(frozen=True)
class Stage:
    """A stage with the files that it reads and writes; a file's own folder or table is damaged through it."""

    stage: str
    name: str | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    renames: int
    """How many files it puts in their places when all of them are to be made."""

    def __str__(self) -> str:
        return self.stage + (f"@{self.name}" if self.name else "")


PROMPTS, QUESTIONS, TRUTH, WORDINGS, ASKED = (
    f"data/sample_prompts/{name}.parquet"
    for name in ("prompts", "questions", "truth", "wordings", "question_wordings")
)
IMAGE = "data/prepare/images/train-00000.png"
HELD_OUT_IMAGE = "data/prepare/images/held_out-00000.png"
VALIDATION_IMAGE = "data/prepare/images/validation-00000.png"
BASE = ("policies/base/model.safetensors", "policies/base/config.json", "policies/base/tokenizer.json")
ADAPTER = (
    "policies/1/adapters/1/adapter_model.safetensors",
    "policies/1/adapters/1/adapter_config.json",
    "policies/1/chain.json",
)
SCORERS = tuple(
    f"scorers/{name}/{file}"
    for name in ("search", "held_out")
    for file in ("open_clip_model.safetensors", "open_clip_config.json")
)


def shards(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{file}" for file in ("00000.parquet", "00002.parquet", "manifest.json"))


STAGES = (
    Stage(
        "sample_prompts",
        None,
        ("data/prepare/scenes.parquet", *BASE),
        (PROMPTS, QUESTIONS, TRUTH, WORDINGS, ASKED),
        5,
    ),
    Stage(
        "generate_beams",
        "1",
        (PROMPTS, WORDINGS, *BASE, *SCORERS[:2], IMAGE),
        shards("data/generate_beams/1"),
        6,
    ),
    Stage(
        "measure_signals",
        "1",
        (*shards("data/generate_beams/1"), PROMPTS, *SCORERS, IMAGE),
        shards("data/measure_signals/1"),
        6,
    ),
    Stage(
        "score_beams",
        "1",
        (*shards("data/generate_beams/1"), *shards("data/measure_signals/1"), PROMPTS),
        (*shards("data/score_beams/1"), "metrics/score_beams/1.json"),
        7,
    ),
    Stage(
        "select_pairs",
        "1",
        (*shards("data/score_beams/1"), PROMPTS),
        (
            "data/select_pairs/1/pairs.parquet",
            "data/select_pairs/1/dropped.parquet",
            "metrics/select_pairs/1.json",
        ),
        3,
    ),
    Stage(
        "train_dpo",
        "1",
        ("data/select_pairs/1/pairs.parquet", WORDINGS, *BASE, IMAGE),
        (
            *ADAPTER,
            "data/train_dpo/1/log.parquet",
            "data/train_dpo/1/references.parquet",
            "metrics/train_dpo/1.json",
        ),
        7,
    ),
    Stage(
        "evaluate_policy",
        "1",
        (QUESTIONS, TRUTH, ASKED, *ADAPTER, *BASE, *SCORERS, HELD_OUT_IMAGE),
        (
            "data/evaluate_policy/1/answers.parquet",
            "data/evaluate_policy/1/record.json",
            "data/evaluate_policy/1/absent_mentions.csv",
            "metrics/evaluate_policy/1.json",
        ),
        4,
    ),
    Stage(
        "match_recall",
        "1",
        (
            QUESTIONS,
            TRUTH,
            ASKED,
            "data/evaluate_policy/base/answers.parquet",
            *ADAPTER,
            *BASE,
            HELD_OUT_IMAGE,
        ),
        (
            "data/match_recall/1/answers.parquet",
            "data/match_recall/1/record.json",
            "metrics/match_recall/1.json",
        ),
        3,
    ),
    Stage(
        "measure_attention",
        "1",
        (
            QUESTIONS,
            ASKED,
            "data/evaluate_policy/base/answers.parquet",
            "data/evaluate_policy/1/answers.parquet",
            *ADAPTER,
            *BASE,
            VALIDATION_IMAGE,
        ),
        ("data/measure_attention/1/shares.parquet", "metrics/measure_attention/1.json"),
        2,
    ),
    Stage(
        "summarize",
        None,
        (
            "data/evaluate_policy/1/answers.parquet",
            "data/evaluate_policy/base/answers.parquet",
            "data/evaluate_policy/1/record.json",
            "data/evaluate_policy/base/record.json",
            "data/match_recall/1/answers.parquet",
            "data/match_recall/base/answers.parquet",
            "data/match_recall/1/record.json",
            "data/match_recall/base/record.json",
            "data/measure_attention/1/shares.parquet",
            "data/measure_attention/base/shares.parquet",
            "data/select_pairs/1/pairs.parquet",
            "data/select_pairs/1/dropped.parquet",
            *shards("data/generate_beams/1"),
            *shards("data/score_beams/1"),
            "data/train_dpo/1/references.parquet",
            QUESTIONS,
            TRUTH,
            PROMPTS,
            "metrics/train_dpo/1.json",
            "metrics/prepare.json",
        ),
        ("metrics/summary.json", "metrics/summary.md", "plots/chair_s.csv", "plots/cases.csv"),
        6,
    ),
)


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
