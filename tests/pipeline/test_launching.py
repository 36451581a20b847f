"""`accelerate launch` runs `train_dpo` in several processes: the training of one process, written by the first alone."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from safetensors.torch import load_file

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline import launching, sample_prompts, train_dpo
from csrdata.pipeline.train_dpo import step_log
from csrdata.records import Pair, PairScores, Prompt
from csrdata.storage.tables import read_json, read_rows, write_rows
from tests.pipeline.world import draw_world, small_params

TRAINING = {
    "epochs": 2,
    "batch_size": 1,
    "accumulation": 2,
    "lora_rank": 2,
    "lora_alpha": 4,
    "sft_weight": 1.0,
}
ROOT = Path(__file__).parents[2]
TEXTS = ((" A red circle.", " A blue square."), (" Yes.", " There is none here."), (" It is red.", " No."))
DIES = """
import os, signal, threading, time
def die():
    while not os.path.exists("data/train_dpo/1.partial/references.parquet"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
if os.environ.get("RANK") == "1":
    threading.Thread(target=die, daemon=True).start()
"""
"""Kills the second process when the references are known: then training begins."""
ADAPTER = "adapters/1/adapter_model.safetensors"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with an untrained base policy and six pairs of unlike lengths."""
    monkeypatch.chdir(tmp_path)
    draw_world()
    params = small_params(train_dpo=TRAINING)
    sample_prompts.run(params)
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="")
    pairs = [
        Pair(
            prompt_id=prompt.prompt_id,
            image=prompt.image,
            prompt=prompt.text,
            origin="judge",
            scores=PairScores(),
            chosen=chosen,
            rejected=rejected,
        )
        for prompt, (chosen, rejected) in zip(prompts, TEXTS * 2, strict=False)
    ]
    pairs = pairs[: len(pairs) // 2 * 2]
    assert len(pairs) >= 4
    write_rows(paths.pairs("1"), pairs, Pair)
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump()), encoding="utf-8")


def launched(*words: str, hooks: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run csrdata in two processes; `hooks` is a folder of modules to import first."""
    places = [str(ROOT)] if hooks is None else [str(hooks), str(ROOT)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    settings = [
        f"--config_file={launching.configuration('ddp')}",
        "--num_processes=2",
        "--main_process_port=0",
    ]
    return subprocess.run(
        [*start, *settings, "-m", "csrdata", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_two_processes_are_one() -> None:
    """The same params give, step by step, one process's loss within 1e-5, and the same adapter but for rounding."""
    params = small_params(train_dpo=TRAINING)
    train_dpo.run(params, "1")
    alone = pl.read_parquet(step_log("1"))
    adapter = load_file(paths.policy("1") / ADAPTER)
    references = paths.references("1").read_bytes()
    metrics = read_json(paths.stage_metrics("train_dpo", "1"), made_by="")
    done = launched("run", "train_dpo", "--iteration", "1")
    assert done.returncode == 0, done.stderr
    together = pl.read_parquet(step_log("1"))
    assert len(together) == len(alone) > 2
    for column in alone.columns:
        for one, other in zip(alone[column], together[column], strict=True):
            assert other == pytest.approx(one, abs=1e-5, rel=1e-5), column
    for name, weight in load_file(paths.policy("1") / ADAPTER).items():
        assert weight.numpy() == pytest.approx(adapter[name].numpy(), abs=1e-5)
    assert paths.references("1").read_bytes() == references
    found = read_json(paths.stage_metrics("train_dpo", "1"), made_by="")
    assert found == pytest.approx(metrics, abs=1e-4)
    assert done.stderr.count("train_dpo@1: wrote") == 1
    assert not paths.unfinished_training("1").exists()


def test_a_process_that_dies_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The second process is killed while the first trains: both end, nothing is written, and a run alone goes on."""
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/sitecustomize.py").write_text(DIES)
    done = launched("run", "train_dpo", "--iteration", "1", hooks=tmp_path / "hooks")
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert not paths.policy("1").exists()
    assert not paths.stage_metrics("train_dpo", "1").exists()
    train_dpo.run(small_params(train_dpo=TRAINING), "1")
    assert (paths.policy("1") / ADAPTER).is_file()
    assert not paths.unfinished_training("1").exists()


def test_a_step_that_processes_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accumulation that is no multiple of the processes is refused with both numbers, before any of them waits."""
    for name, value in {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "localhost",
    }.items():
        monkeypatch.setenv(name, value)
    words = r"train_dpo\.accumulation: got 2, expected a multiple of the 4 processes"
    with pytest.raises(UserError, match=words):
        train_dpo.run(small_params(train_dpo=TRAINING), "1")


def test_other_stages_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process refuses any other stage, and names the command without `accelerate launch`."""
    from csrdata.pipeline import run

    for name, value in {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        UserError, match=r"got 2 processes for sample_prompts, expected train_dpo.*Next: csrdata run"
    ):
        run("sample_prompts", None)


def test_configurations_are_shipped() -> None:
    """Both configurations are files; another name is refused with theirs."""
    assert [launching.configuration(kind).is_file() for kind in launching.KINDS] == [True, True]
    with pytest.raises(UserError, match="got zero, expected one of ddp, fsdp"):
        launching.configuration("zero")
