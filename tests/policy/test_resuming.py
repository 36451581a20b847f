"""A training run that was killed goes on from its last whole checkpoint and ends in the bytes of a run without a break."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from csrdata.policy.loading import load_policy
from csrdata.policy.resuming import CHECKPOINTS, Known, Work
from csrdata.policy.training import TrainingReport, train
from csrdata.storage.disk import hash_path
from tests.objectives import DPO, TINY
from tests.policy.pairs import CONTINUED, WHOLE, written
from tests.tiny import pictures, tiny_llava

WORK = Path("1.partial")
CHECKPOINT = WORK / CHECKPOINTS
STEPS = 4
ROOT = Path(__file__).parents[2]
KILLED = """
import sys
import torch
torch.set_num_threads(int(sys.argv[2]))
from tests.policy.test_resuming import run
run("killed", die_at=int(sys.argv[1]))
"""


def run(to: str, *, die_at: int | None = None, work: bool = True, **settings: Any) -> TrainingReport:
    """Train four steps with dropout; the process kills itself in training's forward pass number `die_at`."""
    policy = load_policy(Path("base"))
    passes = [0]

    def count(module: Any, *_: Any) -> None:
        passes[0] += module.training
        if passes[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    policy.model.get_decoder().register_forward_pre_hook(count)  # type: ignore[no-untyped-call]
    pairs = written(load_policy(Path("base")), WHOLE + CONTINUED)
    Path(to).mkdir(exist_ok=True)
    return train(
        policy,
        pairs,
        root=Path(),
        adapter_folder=Path(to),
        **DPO,
        **{
            "learning_rate": 1e-2,
            "epochs": 2,
            "batch_size": 2,
            **TINY,
            "lora_dropout": 0.2,
            "checkpoint_every": 1,
            **settings,
        },
        work=Work(WORK, code="this code") if work else None,
    )


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny base policy and images."""
    monkeypatch.chdir(tmp_path)
    pictures(Path("images"), len(WHOLE + CONTINUED))
    tiny_llava(Path("base"))


def killed(at: int) -> None:
    """Run training in a process that is killed in its forward pass number `at`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", KILLED, str(at), str(torch.get_num_threads())]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def weights(folder: str) -> str:
    return hash_path(Path(folder) / "adapter_model.safetensors")


def test_a_killed_run_ends_in_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """Killed at its fourth step, it computes no reference again, trains from step 3, and gives equal weights and steps."""
    whole = run("whole", work=False)
    killed(4)
    assert sorted(path.name for path in CHECKPOINT.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    capsys.readouterr()
    again = run("killed")
    said = capsys.readouterr().err
    assert "training goes on from step 3" in said
    assert weights("killed") == weights("whole")
    assert again == whole
    assert len(again.steps) == STEPS


def test_a_damaged_checkpoint_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """One with other bytes, or not written to its end, is named; the one before it, or the beginning, gives the same."""
    whole = run("whole", work=False)
    run("killed")
    newest, before = CHECKPOINT / "checkpoint-4", CHECKPOINT / "checkpoint-3"
    optimizer = newest / "optimizer.pt"
    content = bytearray(optimizer.read_bytes())
    content[len(content) // 2] ^= 1
    optimizer.write_bytes(content)
    assert run("killed") == whole
    said = capsys.readouterr().err
    assert f"{optimizer}: got SHA-256" in said
    assert "training goes on from step 3" in said
    for path in (newest, before):
        (path / "sha256.json").unlink(missing_ok=True)
    assert run("killed") == whole
    said = capsys.readouterr().err
    assert f"{before}: not written to its end" in said
    assert "goes on" not in said
    assert weights("killed") == weights("whole")


def test_other_settings_start_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Another learning rate keeps the references and no checkpoint; another batch keeps neither; a line says so."""
    run("one")
    capsys.readouterr()
    fresh = run("two", learning_rate=1e-3, work=False)
    passes = references_computed()
    assert run("two", learning_rate=1e-3) == fresh
    assert f"{WORK}: made from other settings; checkpoints made again" in capsys.readouterr().err
    assert references_computed() == passes
    run("three", learning_rate=1e-3, batch_size=4)
    said = capsys.readouterr().err
    assert f"{WORK}: made from other numbers; references.parquet and checkpoints made again" in said
    assert references_computed() != passes


def references_computed() -> float:
    """Return when the references were written."""
    return (WORK / "references.parquet").stat().st_mtime


def test_other_pairs_or_policies_are_other_references(capsys: pytest.CaptureFixture[str]) -> None:
    """An image with other bytes is named as other pairs, other weights as another policy."""
    run("one")
    pictures(Path("elsewhere"), 5)
    Path("elsewhere/4.png").replace("images/0.png")
    run("two", reference_tolerance=100.0)
    assert f"{WORK}: made from other pairs" in capsys.readouterr().err
    tiny_llava(Path("base"), seed=1)
    run("three")
    said = capsys.readouterr().err
    assert "made from other pairs" not in said
    assert f"{WORK}: made from other policy; references.parquet and checkpoints made again" in said


def test_damaged_references_are_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with other bytes, of other pairs or with empty values is left, in one line; a whole one is returned."""
    work = Work(tmp_path / "work")
    work.open(references={"pairs": "a"}, settings={})
    known = Known(([-1.5], [-2.0]), ([-1.0], [-0.5]), ([3], [4]))
    assert work.references(pairs=1) is None
    work.keep_references(known)
    assert work.references(pairs=1) == known
    assert capsys.readouterr().err == ""
    assert work.references(pairs=2) is None
    path = work.folder / "references.parquet"
    assert f"{path}: got 1 rows for 2 pairs" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert work.references(pairs=1) is None
    assert f"{path}: got " in capsys.readouterr().err
    pl.DataFrame({"chosen": [1.0]}).write_parquet(path)
    assert work.references(pairs=1) is None
    assert "rejected" in capsys.readouterr().err


def test_a_damaged_key_is_no_key(tmp_path: Path) -> None:
    """Nothing is taken over whose key cannot be read."""
    work = Work(tmp_path / "work")
    work.open(references={"pairs": "a"}, settings={})
    work.keep_references(Known(([-1.5], [-2.0]), ([-1.0], [-0.5]), ([3], [4])))
    (work.folder / "key.json").write_text("{")
    work.open(references={"pairs": "a"}, settings={})
    assert work.references(pairs=1) is None
    assert json.loads((work.folder / "key.json").read_text())["references"] == {"pairs": "a"}
