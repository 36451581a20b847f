"""Running arms: what is done, what fails, who waits; and, in `make test-all`, two arms at the smoke size with a kill between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from csrdata.ablation.arms import read_arms
from csrdata.ablation.collecting import is_of_today, params_hash
from csrdata.ablation.projects import Campaign, Run, open_campaign, runs_of_arms
from csrdata.ablation.result import hash_of, read_result, write_result
from csrdata.ablation.running import Busy, Failed, Runner, _base_stages, _search_stages, is_taken, opened
from csrdata.ablation.sharing import code_of
from csrdata.params import Params
from csrdata.pipeline.project import profile_path
from csrdata.sections.engines import LocalProcesses
from csrdata.sections.evaluation import MeasureAttention
from csrdata.strict_yaml import read_yaml
from tests.ablation.made import result
from tests.imports import ROOT

FILE = """\
tuning: {grid: {train_dpo.learning_rate: [0.0001]}, recall_loss: 2.0}
quick: {arms: [base], changes: {source.train_images: 15}}
arms:
  base: {about: Base., group: must, iterations: 0, changes: {}}
  shipped: {about: Shipped., group: must, iterations: 1, changes: {}}
  twin: {about: The same., group: exploratory, iterations: 1, changes: {}}
  other-loss: {about: Other., group: exploratory, iterations: 1, changes: {train_dpo.sft_weight: 1.0}}
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    path = tmp_path / "arms.yaml"
    path.write_text(FILE, encoding="utf-8")
    return open_campaign(read_arms(path), top=tmp_path / "top", results=tmp_path / "results", profile="smoke")


def _shipped(campaign: Campaign, seed: int = 0) -> Run:
    return Run(campaign.arms.named("shipped"), seed)


def test_a_campaign_goes_seed_by_seed(campaign: Campaign) -> None:
    """After an interruption whole comparisons are there: all arms with a seed come before the next seed."""
    arms = list(campaign.arms.by_name.values())
    assert [run.name for run in runs_of_arms(arms)] == [
        "base/0", "shipped/0", "base/1", "shipped/1", "base/2", "shipped/2", "twin/2", "other-loss/2",
    ]  # fmt: skip
    assert [run.name for run in runs_of_arms(arms[:2], seeds=[4])] == ["base/4", "shipped/4"]


def test_a_run_is_done_while_parameters_and_code_are_those_of_today(campaign: Campaign) -> None:
    """No file, a damaged file, other parameters or other code: not done; if asked, other code counts as done."""
    run = _shipped(campaign)
    assert not Runner(campaign).is_done(run)
    params, _ = campaign.params(run)
    hashes = {"params_sha256": params_hash(params), "code_sha256": hash_of(code_of(params))}
    own = result("shipped", 0, {"1": (0, 1)}, **hashes)
    write_result(campaign.result(run), own)
    assert Runner(campaign).is_done(run)
    older = replace(own, origin=replace(own.origin, code_sha256="0"))
    write_result(campaign.result(run), older)
    assert not Runner(campaign).is_done(run)
    assert Runner(campaign, any_code=True).is_done(run)
    assert not is_of_today(replace(own, origin=replace(own.origin, params_sha256="0")), params, any_code=True)
    attention = params.model_copy(
        update={"measure_attention": MeasureAttention(split="validation", images=3)}
    )
    assert is_of_today(own, attention, any_code=True)  # no figure of a result is about it
    workers = params.model_copy(update={"engine": LocalProcesses(kind="local", workers=7)})
    assert is_of_today(own, workers, any_code=True)  # where it runs changes nothing
    saved = params.train_dpo.model_copy(update={"checkpoint_every": 10})
    assert not is_of_today(own, params.model_copy(update={"train_dpo": saved}), any_code=True)
    campaign.result(run).write_text("{", encoding="utf-8")
    assert not Runner(campaign).is_done(run)


def test_a_new_key_that_is_null_keeps_earlier_results() -> None:
    """Results from before `ends_per_prompt` are of the same parameters, also where the rule is a part of a mix."""
    raw = read_yaml(profile_path("microworld"))
    rule = {
        key: value for key, value in raw["select_pairs"].items() if key not in {"curation", "ends_per_prompt"}
    }
    for mixed in (False, True):
        before, null, one = (
            params_hash(
                Params.model_validate(
                    raw | {"select_pairs": {"kind": "mixed", "parts": [rule, own]} if mixed else own}
                )
            )
            for own in (rule, rule | {"ends_per_prompt": None}, rule | {"ends_per_prompt": 1})
        )
        assert before == null != one


def test_an_arm_that_trains_nothing_ends_with_the_base(campaign: Campaign) -> None:
    """It needs the stages of the base, none of an iteration and no summary; other arms share the first search, too."""
    params, _ = campaign.params(_shipped(campaign))
    assert _base_stages(params) == ["prepare", "sample_prompts", "evaluate_base", "match_base"]
    assert _search_stages(params) == ["generate_beams@1", "measure_signals@1"]


def test_a_quick_campaign_has_its_own_folder_and_sizes(campaign: Campaign) -> None:
    """Quick runs share no project and no result with whole ones, and have one iteration."""
    quick = replace(campaign, quick=True, raw=read_yaml(profile_path("smoke")))
    run = _shipped(quick)
    params, raw = quick.params(run)
    assert list(params.iterations) == ["1"]
    assert raw["source"]["train_images"] == 15
    assert quick.project(run).is_relative_to(campaign.top / "quick")
    assert campaign.project(run) != quick.project(run)


def test_a_run_of_another_process_is_left_to_it(campaign: Campaign) -> None:
    """Two runners of one arm: the second says so, and goes on with the next arm; that is no failure."""
    run = _shipped(campaign)
    with opened(campaign.folder / "locks/shipped-0") as lock:
        assert is_taken(lock)
        with pytest.raises(Busy, match="another process runs it"):
            Runner(campaign).reach(run, None)
        assert Runner(campaign).run([run]) == {}


def test_the_processes_of_a_killed_runner_keep_its_lock(campaign: Campaign) -> None:
    """A child inherits the lock: a new runner does not start a second DVC in the same project."""
    run, path = _shipped(campaign), campaign.folder / "locks/shipped-0"
    runner = Runner(campaign)
    with opened(path) as lock:
        assert is_taken(lock)
        runner._locks[run.name] = lock
        process = runner._start(run, [sys.executable, "-c", "import time; time.sleep(60)"], Path())
    with opened(path) as again:
        assert not is_taken(again)
        runner._stop()
        process.wait(timeout=20)
        assert is_taken(again)


def test_a_stopped_runner_ends_what_it_started(campaign: Campaign) -> None:
    """Commands end, and no further one starts."""
    run, runner = _shipped(campaign), Runner(campaign)
    campaign.project(run).mkdir(parents=True)
    errors: list[str] = []

    def call() -> None:
        try:
            runner._call(run, [sys.executable, "-c", "import time; print('on', flush=True); time.sleep(60)"])
        except Failed as error:
            errors.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    log = campaign.project(run) / "log.txt"
    while not log.is_file() or "on" not in log.read_text(encoding="utf-8"):
        time.sleep(0.01)
    runner._stop()
    thread.join(timeout=20)
    assert errors
    assert errors[0].startswith("on (all of it: ")
    with pytest.raises(Failed, match="stopped"):
        runner._call(run, [sys.executable, "-c", ""])


def test_an_interrupted_runner_ends_what_it_started(campaign: Campaign) -> None:
    """As with Ctrl-C in `tune`, where the signal arrives while the runner reads what a command prints."""
    run, runner = _shipped(campaign), Runner(campaign)
    campaign.project(run).mkdir(parents=True)
    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGUSR1); time.sleep(60)"
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            runner._call(run, [sys.executable, "-c", code])
    finally:
        signal.signal(signal.SIGUSR1, before)
    (process,) = runner._started
    assert process.wait(timeout=20) == -signal.SIGTERM


def test_a_failed_arm_is_reported_and_the_others_run(campaign: Campaign, tmp_path: Path) -> None:
    """The first stage of each fails: both are named with what the stage said, and where its whole output is."""
    raw = read_yaml(profile_path("smolvlm"))
    raw["prepare"]["policy"] = {"folder": "missing"}
    raw["compute"] = {"threads": 1, "device": "cpu", "dtype": "float32"}
    profile = tmp_path / "mine.yaml"
    profile.write_text(yaml.safe_dump(raw), encoding="utf-8")
    mine = open_campaign(campaign.arms, top=tmp_path / "mine", results=tmp_path / "out", profile=str(profile))
    runs = [Run(mine.arms.named(name), 0) for name in ("base", "twin")]
    failed = Runner(mine).run(runs)
    assert set(failed) == {"base/0", "twin/0"}
    for run in runs:
        assert "missing" in failed[run.name]
        assert f"all of it: {mine.project(run) / 'log.txt'}" in failed[run.name]
        assert not mine.result(run).exists()


def _small(folder: Path) -> Path:
    """Write the smoke profile with even less in it."""
    raw = read_yaml(profile_path("smoke"))
    raw["source"] |= {
        "train_images": 8,
        "validation_images": 6,
        "held_out_images": 6,
        "out_of_distribution_images": 6,
    }
    raw["sample_prompts"]["prompts"] = 6
    raw["match_recall"]["step"] = 4.0
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_two_arms_share_their_stages_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    """Through the command line and DVC, at the smoke size.

    The runner is killed in the first search. The next one finishes; the second arm, equal but for its name, runs no stage; the
    third starts at training; results are equal where arms are, and the table has all three.
    """
    arms = tmp_path / "arms.yaml"
    arms.write_text(FILE, encoding="utf-8")
    where = [
        "--profile",
        str(_small(tmp_path)),
        "--folder",
        str(tmp_path / "top"),
        "--results",
        str(tmp_path / "out"),
    ]
    where += ["--arms", str(arms)]
    command = [
        sys.executable,
        "-m",
        "csrdata.ablation",
        "run",
        "base",
        "shipped",
        "twin",
        "other-loss",
        "--seeds",
        "0",
        *where,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    for line in first.stderr or ():
        if "shipped/0: generate_beams@1" in line:
            break
    time.sleep(2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=120) == 128 + signal.SIGTERM
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "base/0: done" in done.stderr
    lines = done.stderr.splitlines()
    assert not [
        line for line in lines if line.startswith("twin/0: ") and "@" in line and "shared" not in line
    ]
    ran = [line.removeprefix("other-loss/0: ") for line in lines if line.startswith("other-loss/0: ")]
    assert ran[1] == "train_dpo@1"
    found = {name: read_result(tmp_path / f"out/{name}/0.json") for name in ("shipped", "twin", "other-loss")}
    assert found["twin"].counts == found["shipped"].counts
    assert found["twin"].figures == found["shipped"].figures
    assert found["other-loss"].questions == found["shipped"].questions
    assert found["twin"].cpu_seconds["generate_beams@1"] > 0
    assert found["shipped"].cards["search"]["sentences"] > 0
    assert "pope_accuracy_popular" in found["shipped"].figures["1"]["held_out"]
    assert (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr.count(
            ": done"
        )
        == 4
    )
    table = [sys.executable, "-m", "csrdata.ablation", "table", *where[2:]]
    text = subprocess.run(table, env=environment, capture_output=True, text=True, check=True).stdout
    assert "| shipped | 1 |" in text
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert set(written) == set(found) | {"base"}
    assert "held_out/chair_s" in written["twin"]
