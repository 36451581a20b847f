"""A small finished project for the sweep: drawn images, tiny models, one iteration through every stage.

It is made once a session. Its models are those of the tests (`tests/tiny.py`), taught for two seconds, so that the search
finds answers with an end: training the microworld's own would take a minute.
"""

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from csrdata import paths, pipeline
from csrdata.pipeline.runtime import machine
from csrdata.storage.disk import write_json, write_sums
from tests.pipeline.world import SMALL_SEARCH, draw_world, save_tiny_scorers, small_params
from tests.teaching import teach
from tests.tiny import tiny_llava

PARAMS = small_params(
    sample_prompts={"prompts": 6},
    source={"questions_per_image": 2},
    generate_beams=SMALL_SEARCH | {"prompts_per_shard": 2},
    select_pairs={"margin": 0.0, "max_length_gap": 1.0, "length_balance": None},
    train_dpo={"epochs": 1, "batch_size": 4, "lora_rank": 2, "lora_alpha": 4},
    evaluate_policy={"max_new_tokens": 12, "batch_size": 50},
    match_recall={"split": "validation", "low": -1.0, "high": 1.0, "step": 1.0},
    measure_attention={"split": "validation", "images": 2},
    summarize={"resamples": 100},
)
ORDER = (
    ("sample_prompts", None),
    ("evaluate_policy", "base"),
    ("match_recall", "base"),
    ("measure_attention", "base"),
    ("generate_beams", "1"),
    ("measure_signals", "1"),
    ("score_beams", "1"),
    ("select_pairs", "1"),
    ("train_dpo", "1"),
    ("evaluate_policy", "1"),
    ("match_recall", "1"),
    ("measure_attention", "1"),
    ("summarize", None),
)
"""Every stage but `prepare`, whose models are the tests' own here."""


@dataclass(frozen=True)
class Ended:
    """How a run of a stage ended."""

    code: int
    lines: list[str]
    """What it wrote to stderr, without the progress bars."""


def finished(root: Path) -> Path:
    """Make the project in a folder, and return the folder."""
    with inside(root):
        draw_world()
        teach(tiny_llava(paths.policy(paths.BASE)))
        save_tiny_scorers()
        for folder in (paths.policy(paths.BASE), Path("scorers/search"), Path("scorers/held_out")):
            write_sums(folder)  # as `prepare` does
        Path("dvc.yaml").write_text("stages: {}\n", encoding="utf-8")  # without one, errors say so instead
        write_json(paths.PREPARE_METRICS, {"policy": {"recall": 1.0}, "machine": machine(PARAMS.compute)})
        params = PARAMS.model_dump() | {"iterations": {"1": {"previous": paths.BASE}}}
        Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for stage, name in ORDER:
        ended = run(root, stage, name)
        if ended.code:
            raise RuntimeError(f"{stage}: {ended.lines}")
    return root


def run(root: Path, stage: str, name: str | None) -> Ended:
    """Run a stage of a project as its script does, in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with inside(root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            pipeline.main(stage, [] if name is None else [name])
        except SystemExit as left:
            code = int(str(left.code))
    said = [line.split("\r")[-1] for line in err.getvalue().splitlines()]
    return Ended(code, [line for line in said if line.strip() and "%|" not in line])


def snapshot(root: Path) -> dict[str, str]:
    """Return the hash of every file of a project, the logs left out."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "logs"
    }


def copy(project: Path, target: Path) -> Path:
    """Copy a project; it is small, and a case may change any byte of its copy."""
    return Path(shutil.copytree(project, target, ignore=shutil.ignore_patterns("logs")))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
