"""`csrdata init`, `csrdata dag` and `csrdata run --all`: a project with and without DVC, and when a stage refuses to run."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from csrdata.errors import UserError
from csrdata.params import load_params
from csrdata.pipeline import dag, project, run
from csrdata.pipeline.graph import steps
from csrdata.pipeline.project import create, profile_text, profiles
from csrdata.pipeline.run_all import run_all
from csrdata.pipeline.staleness import Project, record, why_stale
from csrdata.storage.dvc_lock import read_lock, write_stage
from csrdata.strict_yaml import read_yaml
from tests.imports import ROOT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project of the smoke profile; the present folder."""
    folder = tmp_path / "my-csr"
    create(folder, profile="smoke")
    monkeypatch.chdir(folder)
    return folder


def _dvc(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_project_is_ready_for_dvc(here: Path) -> None:
    """Every file is there, the parameters are the profile's, and DVC reads the stages; nothing has run."""
    assert {path.name for path in here.iterdir()} == {
        ".dvc", ".dvcignore", ".gitignore", "README.md", "code.yaml", "dvc.yaml", "params.yaml",
    }  # fmt: skip
    assert (here / "params.yaml").read_text(encoding="utf-8") == profile_text("smoke")
    listed = _dvc("stage", "list", "--name-only").split()
    assert listed == [step.name for step in steps(load_params())] or set(listed) == {
        step.name for step in steps(load_params())
    }


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds something is refused; an unknown profile creates nothing and names the nearest."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="got a folder that holds other things"):
        create(tmp_path / "mine")
    with pytest.raises(UserError, match=r"--profile: got smok, expected smoke\. Next: csrdata init --list"):
        create(tmp_path / "new", profile="smok")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.tex"]


def test_in_a_git_repository_dvc_uses_it(tmp_path: Path) -> None:
    """Inside a git repository DVC keeps its git features; elsewhere it is told that there is none."""
    (tmp_path / "repository/.git").mkdir(parents=True)
    assert create(tmp_path / "repository/project", profile="smoke")
    assert not (tmp_path / "repository/project/.dvc/config.local").exists()
    assert not create(tmp_path / "project", profile="smoke")
    assert "no_scm" in (tmp_path / "project/.dvc/config.local").read_text(encoding="utf-8")


def test_profiles_are_listed_with_their_purpose() -> None:
    """Each profile loads, and its first line says what it is for."""
    for name, about in profiles().items():
        assert about, name
        assert about[-1] in ".:", name
    assert profile_text("microworld") == (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_a_projects_stages_are_the_repositorys() -> None:
    """The two forms of dvc.yaml differ in the command and in how code enters, and in nothing else."""
    params = load_params(ROOT / "params.yaml")
    ours, theirs = (yaml.safe_load(dag.dvc_yaml(params, form)) for form in dag.Form)
    assert ours["plots"] == theirs["plots"]
    for name, stage in ours["stages"].items():
        other = theirs["stages"][name]
        assert stage.get("foreach") == other.get("foreach")
        one, two = stage.get("do", stage), other.get("do", other)
        assert [dep for dep in one["deps"] if not dep.startswith("csrdata/")] == two.get("deps", [])
        code = two["params"][-1]
        assert code == {"code.yaml": [two["cmd"].split()[2]]}
        assert (one["params"], one["outs"]) == (two["params"][:-1], two["outs"])


def test_templates_are_the_repositorys() -> None:
    """A project draws its plots as the repository does."""
    for path in (ROOT / ".dvc/plots").glob("*.json"):
        template = ROOT / "csrdata/pipeline/templates/plots" / path.name
        assert path.read_bytes() == template.read_bytes()


def test_a_stage_refuses_files_of_other_parameters_or_code(here: Path) -> None:
    """After an upgrade, or an edit of dvc.yaml, a stage says which command writes the files again, before it runs."""
    text = (here / "code.yaml").read_text(encoding="utf-8")
    hashes = yaml.safe_load(text)
    (here / "code.yaml").write_text(text.replace(hashes["select_pairs"], "0" * 64), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"code.yaml: got other stages, .* Next: csrdata dag, then: dvc repro"
    ):
        run("sample_prompts", None)
    assert dag.write_project_files(load_params()) == [dag.CODE]
    assert dag.write_project_files(load_params()) == []
    assert (here / "code.yaml").read_text(encoding="utf-8") == text


def test_a_dry_run_says_what_and_why(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has run, so all would; nothing is written."""
    before = sorted(here.rglob("*"))
    assert run_all(dry_run=True) == len(list(steps(load_params())))
    assert "prepare: would run, it has not run" in capsys.readouterr().err
    assert [path for path in sorted(here.rglob("*")) if "logs" not in path.parts] == before


def test_outside_a_project_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not a project says so before anything else is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(profile_text("smoke"), encoding="utf-8")
    with pytest.raises(UserError, match=r"code.yaml: got no such file, expected a project of csrdata init"):
        run_all(dry_run=True)


@pytest.fixture
def recorded(here: Path) -> Project:
    """The project with made-up outputs of every stage, and a dvc.lock that csrdata wrote for them."""
    params = load_params()
    found = Project(params, read_yaml(Path("params.yaml")), dag.Form.PROJECT)
    for step in steps(params):
        for output in step.node.outputs:
            path = Path(output.path)
            if not path.suffix:
                path = path / "part.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{step.name} {output.path}".encode())
        Path("data/prepare/images").mkdir(exist_ok=True, parents=True)
        for name in ("data/prepare/images/a.png", "data/prepare/scenes.parquet"):
            Path(name).write_bytes(b"image")
        for name in (
            "data/sample_prompts/prompts.parquet",
            "data/sample_prompts/wordings.parquet",
            "data/sample_prompts/images.parquet",
        ):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(b"rows")
        if step.node.stage == "select_pairs":
            (Path(step.node.outputs[0].path) / "pairs.parquet").write_bytes(b"pairs")
    for step in steps(params):
        write_stage(Path("dvc.lock"), step.name, record(step, found))
    return found


def test_dvc_takes_our_record_for_its_own(recorded: Project) -> None:
    """With outputs in its cache, DVC finds nothing to do for a dvc.lock that csrdata wrote; and csrdata for DVC's."""
    _dvc("commit", "--force", "--quiet")
    assert "up to date" in _dvc("status")
    lock = read_lock(Path("dvc.lock"))
    assert [why_stale(step, lock, recorded) for step in steps(load_params())] == [None] * len(lock)


@pytest.mark.parametrize(
    ("edit", "stale", "reason"),
    [
        (("params.yaml", "margin: 0.0", "margin: 0.25"), {"select_pairs@1", "select_pairs@2", "summarize", "report"}, "select_pairs has changed"),
        (("params.yaml", "resamples: ", "resamples: 1"), {"summarize", "report"}, "summarize has changed"),
        (("data/generate_beams/2/part.bin", "generate", "degenerate"), {"generate_beams@2", "measure_signals@2", "score_beams@2", "select_pairs@2", "report"}, "data/generate_beams/2 has changed"),
        (("metrics/train_dpo/1.json", None, None), {"train_dpo@1", "summarize"}, "is missing"),
        (("policies/1/part.bin", "train", "untrained"), {"train_dpo@1", "evaluate_policy@1", "match_recall@1", "generate_beams@2", "train_dpo@2"}, "policies/1 has changed"),
    ],
)  # fmt: skip
def test_what_is_stale_is_what_dvc_says(
    recorded: Project, edit: tuple[str, str, str], stale: set[str], reason: str
) -> None:
    """A changed parameter, a changed or missing file: the same stages are out of date as for `dvc status`."""
    _dvc("commit", "--force", "--quiet")
    path, before, after = Path(edit[0]), edit[1], edit[2]
    if before is None:
        path.unlink()
    else:
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")
    now, lock = replace(recorded, raw=read_yaml(Path("params.yaml"))), read_lock(Path("dvc.lock"))
    reasons = {step.name: why_stale(step, lock, now) for step in steps(load_params())}
    found = {name for name, why in reasons.items() if why}
    assert found == stale
    assert any(reason in (why or "") for why in reasons.values())
    status = _dvc("status", "--json")
    changed = {
        name
        for name, parts in yaml.safe_load(status).items()
        if any(
            set(part.get("changed outs", {}).values()) - {"not in cache"} or "changed deps" in part
            for part in parts
        )
    }
    assert changed == found


def test_an_upgrade_reruns_what_it_changes(recorded: Project) -> None:
    """A stage whose code hash differs from the recorded one is out of date, the others are not."""
    lock = read_lock(Path("dvc.lock"))
    lock["score_beams@1"]["params"]["code.yaml"]["score_beams"] = "0" * 64
    reasons = {step.name: why_stale(step, lock, recorded) for step in steps(load_params())}
    assert {name: why for name, why in reasons.items() if why} == {
        "score_beams@1": "code.yaml: score_beams has changed"
    }


def test_the_project_readme_names_real_commands() -> None:
    """Each csrdata command of the README exists."""
    text = (ROOT / "csrdata/pipeline/templates/README.md").read_text(encoding="utf-8")
    from csrdata.cli import app

    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    named = {
        word.split()[1].strip("`;,.")
        for word in text.replace("`", "\n").splitlines()
        if word.startswith("csrdata ")
    }
    assert named <= known, named - known
    assert project.DEFAULT in profiles()
