"""`csrdata check` on a whole small project, on its parts, and before any stage has run."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from csrdata import paths
from csrdata.checking.findings import Finding, Level, fails
from csrdata.cli import app
from csrdata.params import Params, load_params
from csrdata.pipeline.check import check
from csrdata.pipeline.check_inputs import check_sets, read_prompts
from csrdata.pipeline.dag import write_project_files
from csrdata.relevance.grid_detector import GridNetwork
from csrdata.sources.microworld.detector_training import detector_config
from tests.faults.project import snapshot
from tests.pipeline.world import small_params


@pytest.fixture
def project(finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project with its own dvc.yaml and code.yaml, as the present folder."""
    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    monkeypatch.chdir(folder)
    write_project_files(load_params())
    return folder


def _errors(findings: Sequence[Finding]) -> list[str]:
    return [one.line() for one in findings if one.level is Level.ERROR]


def test_a_sound_project_goes_the_whole_way(project: Path) -> None:
    """Two prompts are searched, scored, paired and trained on; every subject has a finding; no file changes."""
    before = snapshot(project)
    findings = check(load_params())
    assert snapshot(project) == before
    assert _errors(findings) == []
    words = {one.subject: one.words for one in findings if one.level is Level.OK}
    assert words["policy"] == "policies/base, as prepare wrote it"
    assert words["images"] == "6 of 6 images are readable"
    assert words["search"].endswith("tokens each")
    assert words["pairs"] == "2 of 2 prompts give 2 pairs"
    assert words["training"].startswith("two steps of 2 pairs: loss ")
    assert "references within" in words["training"]
    assert words["decoding"].startswith("shared prefix: ")
    assert {
        "dag",
        "packages",
        "device",
        "disk",
        "memory",
        "time",
        "estimates",
        "chat template",
        "end tokens",
        "context",
    } <= {one.subject for one in findings}  # on a busy machine the time is a warning


def test_what_would_fail_is_named(project: Path) -> None:
    """A stale dvc.yaml, a missing image and a changed scorer are errors of one line, all at once."""
    (project / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (project / "scorers/held_out/open_clip_config.json").write_text("{}", encoding="utf-8")
    next(iter(sorted((project / paths.SCENES / "images").rglob("*.png")))).unlink()
    errors = _errors(check(load_params()))
    assert errors[0].startswith("error   dag: dvc.yaml: got an outdated text")
    assert errors[0].endswith("Next: csrdata dag, then: csrdata check")
    assert any("scorers.held_out: scorers/held_out" in line for line in errors)


def test_an_evaluation_set_without_its_file(project: Path) -> None:
    """An evaluation set whose files are missing would stop `sample_prompts`: an error that names its key."""
    raw = load_params().model_dump()
    raw["evaluation_sets"] = {
        "pope": {
            "kind": "pope",
            "folder": ".",
            "file": "gone.jsonl",
            "strategy": "random",
        }
    }
    params = Params.model_validate(raw)
    inputs, _ = read_prompts(params)
    assert inputs is not None
    (found,) = check_sets(params, inputs)
    assert found.level is Level.ERROR
    assert found.line().startswith("error   evaluation_sets.pope: gone.jsonl: got no such file")


def test_other_signals_are_found_and_measured(project: Path) -> None:
    """A detector and a self-check are named, and measure the candidates of the trial; neither has a text limit."""
    raw = load_params().model_dump()
    others = {"spots": {"kind": "detector", "folder": "scorers/spots"}, "asked": {"kind": "self_check"}}
    raw["scorers"]["others"] = others
    raw["score_beams"]["signal"] = "spots"
    params = Params.model_validate(raw)
    write_project_files(params)
    (waiting,) = [one for one in check(params) if one.subject == "prepare"]
    assert waiting.line().startswith("warning prepare: it has not run")
    folder = project / "scorers/spots"
    folder.mkdir()
    save_file(GridNetwork(detector_config()).state_dict(), folder / "detector.safetensors")
    (folder / "detector.json").write_text(detector_config().model_dump_json(), encoding="utf-8")
    findings = check(params)
    assert _errors(findings) == []
    words = {one.subject: one.words for one in findings if one.level is Level.OK}
    assert words["scorers.others.asked"] == "asks the policy"
    assert words["scorers.others.spots"] == "scorers/spots, as it was written"
    assert words["score"].endswith("answers")
    assert "others" not in words.get("sentences", "")
    (folder / "detector.json").write_text("{}", encoding="utf-8")
    (error,) = _errors(check(params))
    assert "scorers/spots/detector.json: kind: got no such key" in error


def test_a_judge_that_is_the_base_is_asked_before_prepare_has_run(project: Path) -> None:
    """The base of others is where it is until `prepare` records it; the trial asks it there."""
    raw = load_params().model_dump()
    judge = {"kind": "judge", "folder": "policies/base", "question": "Is it so? {sentence}"}
    raw["scorers"]["others"] = {"judge": judge}
    raw["score_beams"]["signal"] = "judge"
    (project / "policies/base").rename(project / "mine")
    raw["prepare"] = {
        "kind": "pretrained",
        "policy": {"folder": "mine"},
        "min_pixels": None,
        "max_pixels": None,
    }
    params = Params.model_validate(raw)
    write_project_files(params)
    findings = check(params)
    assert _errors(findings) == []
    words = {one.subject: one.words for one in findings if one.level is Level.OK}
    assert words["scorers.others.judge"] == "asks the base"
    assert words["score"].endswith("answers")


def test_a_search_holds_what_guides_it_beside_the_policy(project: Path) -> None:
    """The weights of a search by the policy itself are the policy's; those of a judge, or of a CLIP with noise, are added."""
    raw = load_params().model_dump()
    clip = "scorers/search"
    settings = {
        "policy": {"kind": "self_check"},
        "judge": {"kind": "judge", "folder": "policies/base", "question": "Is it so? {sentence}"},
        "clip": {"kind": "open_clip", "folder": clip},
        "noisy": {"kind": "noisy", "folder": clip, "deviation": 10.0, "seed": 0},
    }
    raw["scorers"]["others"] = {"tower": settings["clip"]}
    weights = {}
    for name, search in settings.items():
        raw["scorers"]["search"] = search
        params = Params.model_validate(raw)
        write_project_files(params)
        said = [one.words for one in check(params) if one.words.startswith("generation takes")]
        number, unit = said[0].partition("weights ")[2].partition(",")[0].split()
        weights[name] = float(number) * {"kB": 1e3, "MB": 1e6}[unit]
    assert weights["judge"] == pytest.approx(2 * weights["policy"], rel=0.05)
    assert weights["noisy"] == weights["clip"] > 2 * weights["policy"]


def test_a_damaged_policy_is_an_error(project: Path) -> None:
    """Weights that are cut are found before anything runs."""
    weights = project / "policies/base/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (error,) = _errors(check(load_params()))
    assert error.startswith("error   policy: policies/base/model.safetensors")


def test_before_any_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `prepare`, check says so in one line, and checks packages, device, disk and DVC's files."""
    monkeypatch.chdir(tmp_path)
    params = small_params()
    write_project_files(params)
    findings = check(params)
    assert not fails(findings)
    (waiting,) = [one for one in findings if one.level is Level.WARNING]
    assert waiting.line() == (
        "warning prepare: it has not run: two prompts could not be tried, nor memory and time estimated. "
        "Next: dvc repro sample_prompts, then: csrdata check"
    )
    assert {"dag", "packages", "device", "disk"} == {one.subject for one in findings} - {"prepare"}


def test_the_command_exits_with_1_if_a_stage_would_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`csrdata check` prints one line per finding, or one JSON object, and its exit code says whether a stage would fail."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    failed = CliRunner().invoke(app, ["check", "--json"])
    assert failed.exit_code == 1
    said = json.loads(failed.stdout)
    assert said["fails"]
    assert said["findings"][0]["words"].startswith("dvc.yaml: got no such file")
    write_project_files(load_params())
    passed = CliRunner().invoke(app, ["check"])
    assert passed.exit_code == 0
    assert passed.stdout.startswith(
        "ok      dag: dvc.yaml, code.yaml as this version of csrdata writes them\n"
    )
