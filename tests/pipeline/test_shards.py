"""The shards of a stage by shares: the bytes of one process, with real models; and which engines params.yaml takes."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrdata import paths, pipeline
from csrdata.errors import UserError
from csrdata.params import Params, check_params
from csrdata.pipeline import generate_beams, measure_signals, sample_prompts, score_beams
from csrdata.pipeline.guard import guarded
from csrdata.pipeline.shards import _open_with_same_code, parse_share
from csrdata.storage.shard_shares import Share
from tests.imports import ROOT
from tests.pipeline.world import SMALL_SEARCH, draw_world, save_tiny_scorers, small_params

RAY = {"kind": "ray", "workers": 2, "gpus_per_worker": 0.0, "address": None, "patience": 300.0}


def small_search(**engine: Any) -> Params:
    raw = small_params(
        sample_prompts={"prompts": 6}, generate_beams=SMALL_SEARCH | {"prompts_per_shard": 2}
    ).model_dump()
    return Params.model_validate(raw | {"engine": engine or {"kind": "local", "workers": 1}})


def make_project() -> None:
    """Make a project with tiny models and 3 shards of prompts in the present folder."""
    draw_world()
    save_tiny_scorers()
    sample_prompts.run(small_search())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose search one process has made: 3 shards."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        make_project()
        generate_beams.run(small_search(), "1")
        measure_signals.run(small_search(), "1")
        score_beams.run(small_search(), "1")
        yield root


FOLDERS = (paths.candidates("1"), paths.signals("1"), paths.responses("1"))


def files() -> dict[str, bytes]:
    """Return the shards and manifests of the search, and its metrics."""
    found = [path for folder in FOLDERS if folder.exists() for path in folder.iterdir()]
    found.append(paths.stage_metrics("score_beams", "1"))
    return {str(path): path.read_bytes() for path in sorted(found) if path.exists()}


def test_every_stage_of_the_search_can_be_shared_out(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shares of search, signals and rewards leave the bytes of one process; each says what is still missing.

    The metrics appear with the last share.
    """
    whole = files()
    for path in map(Path, whole):
        path.unlink()
    for stage in (generate_beams, measure_signals, score_beams):
        stage.run(small_search(), "1", Share(1, 2))
        said = capsys.readouterr().err
        assert "@1, shards 1/2: done; 2 of all 3 are not there yet, the first is shard 0. Next: " in said
        assert not paths.stage_metrics("score_beams", "1").exists()
        stage.run(small_search(), "1", Share(0, 2))
        assert "@1, shards 0/2: done; all 3 are there. Next: dvc repro" in capsys.readouterr().err
    assert files() == whole


def test_a_node_with_other_code_is_refused() -> None:
    """A worker does not open where csrdata is another version: its shards would be listed under the wrong code."""
    with pytest.raises(
        UserError, match=r"^csrdata on .*: got other code of score_beams, expected the code of"
    ):
        _open_with_same_code("score_beams", "0" * 64, lambda _number: pytest.fail("it opened"), 0)


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "1/0", "a/b", "0/1000000", "1/4/2", "٣/4", " 1/4"])
def test_a_share_that_is_none_is_one_line(text: str) -> None:
    """i/n with i from 0 to n - 1; anything else is refused, with a command that works."""
    with pytest.raises(UserError) as caught:
        parse_share(text, again="csrdata run generate_beams --iteration 1")
    assert caught.value.place == "--shards"
    assert caught.value.do == "csrdata run generate_beams --iteration 1 --shards 0/4"
    assert parse_share("3/4", again="") == Share(3, 4)


def test_a_stage_without_shards_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--shards` for another stage is refused before anything runs."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(
        yaml.safe_dump(small_search().model_dump(), sort_keys=False), encoding="utf-8"
    )
    with pytest.raises(
        UserError, match=r"^--shards: got select_pairs, expected one of generate_beams, measure"
    ):
        pipeline.run("select_pairs", "1", shards="0/2")


HOLD = """
    import time
    from csrdata.pipeline.guard import guarded
    from csrdata.storage.shard_shares import Share
    with guarded("generate_beams", "1", Share(0, 2)):
        print("held", flush=True)
        time.sleep(600)
"""


def test_shares_hold_their_stage_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another share runs at the same time; the same share and the whole stage are refused until the first is gone."""
    monkeypatch.chdir(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", textwrap.dedent(HOLD)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=env) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with guarded("generate_beams", "1", Share(1, 2)), guarded("generate_beams", "2"):
            pass
        same = (
            r"^generate_beams@1, shards 0/2: got a run since .* \(process \d+\).*--iteration 1 --shards 0/2$"
        )
        with pytest.raises(UserError, match=same), guarded("generate_beams", "1", Share(0, 2)):
            pytest.fail("two run")
        with (
            pytest.raises(UserError, match=r"^generate_beams@1: got a run since"),
            guarded("generate_beams", "1"),
        ):
            pytest.fail("the stage runs beside a share")
        lock = Path("logs/locks/generate_beams-1-0-of-2.json")
        lock.write_text(lock.read_text(encoding="utf-8").replace('"host": "', '"host": "node7.'))
        with (
            pytest.raises(UserError, match=r"\(process \d+ on node7\..*or end it on node7\..* \(kill \d+\)"),
            guarded("generate_beams", "1", Share(0, 2)),
        ):
            pytest.fail("two run")
        first.send_signal(signal.SIGKILL)
    with guarded("generate_beams", "1"):
        pass


@pytest.mark.parametrize(
    ("engine", "device", "words"),
    [
        ({}, "cuda", "engine.gpus_per_worker: got 0.0, expected above 0 where compute.device is cuda"),
        ({"gpus_per_worker": 1.0}, "cpu", "engine.gpus_per_worker: got 1.0, expected 0 where compute.device"),
        ({"gpus_per_worker": 1.5}, "cuda", "engine.gpus_per_worker: got 1.5, expected 0, a share of one"),
        ({"gpus_per_worker": 1.0}, "cuda:1", "engine.kind: got ray, with compute.device cuda:1, expected"),
        ({"address": "http://x"}, "cpu", "engine.address: got http://x, expected"),
        ({"workers": 0}, "cpu", "engine.workers: got 0, expected"),
        ({"kind": "slurm"}, "cpu", "engine.kind: got slurm, expected one of 'local', 'ray'"),
    ],
)
def test_an_engine_that_cannot_run_is_one_line(engine: dict[str, Any], device: str, words: str) -> None:
    """What workers reserve fits what they compute on."""
    raw = small_search().model_dump() | {"engine": RAY | engine}
    raw["compute"]["device"] = device
    with pytest.raises(UserError) as caught:
        check_params(raw, Path("params.yaml"))
    assert str(caught.value).startswith(f"params.yaml: {words}")


def test_an_engine_without_a_kind_is_local() -> None:
    """Files from before there was another kind load as they did."""
    raw = small_search().model_dump() | {"engine": {"workers": 3}}
    assert Params.model_validate(raw).engine.model_dump() == {"kind": "local", "workers": 3}
