"""`csrdata push` from end to end: this project's tables to a Hub on this machine, and back by `datasets`."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csrdata import paths
from csrdata.records import ORACLE, Dropped
from csrdata.storage.tables import read_rows, write_json, write_rows
from tests.imports import ROOT
from tests.publishing.hub_server import environment, serve
from tests.publishing.hub_state import TOKEN, Hub
from tests.publishing.project import make_project, pairs_of, rewrite


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The small project with models, as far as a release looks at them."""
    root = make_project(tmp_path / "project")
    (root / "dvc.yaml").touch()
    write_json(root / paths.policy("base") / "config.json", {"architectures": ["TinyLlava"]})
    write_json(root / paths.policy("1") / "chain.json", {"base": "policies/base", "adapters": ["adapters/1"]})
    for scorer in (Path("scorers/search"), Path("scorers/held_out")):
        write_json(root / scorer / "open_clip_config.json", {"name": scorer.name})
    return root


PROGRAM = """
import contextlib, io, json, sys
from csrdata.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv, out, err, code = ["csrdata", "push", *words], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}))
"""
"""Several commands in one process, as its Hub is fixed when the client is imported."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "hub", lfs_from=1000) as made:
        yield made


def push(hub: Hub, project: Path, *commands: list[str]) -> list[Any]:
    """Give each command to the command line, in the project's folder; return what came of them."""
    env = environment(hub, project.parent / "home", token=TOKEN) | {"PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    done = subprocess.run(program, cwd=project, env=env, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(hub: Hub, project: Path, program: str) -> list[str]:
    """Run a reader's program against the Hub; return the lines it prints."""
    env = environment(hub, project.parent / "reader")
    words = [sys.executable, "-c", program]
    return subprocess.run(
        words, cwd=project, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_a_dry_run_writes_what_would_go_and_sends_nothing(hub: Hub, project: Path, tmp_path: Path) -> None:
    """Every file of the folder is printed with its size; the Hub has no repository afterwards."""
    words = ["me/set", "--tag", "v1", "--dry-run", str(tmp_path / "out"), "--iteration", "2"]
    (done,) = push(hub, project, words)
    assert done["code"] == 0, done["err"]
    printed = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in done["out"].splitlines()}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert printed == {path.relative_to(tmp_path / "out").as_posix(): path.stat().st_size for path in files}
    assert "iteration_2/train-00000-of-00001.parquet" in printed
    assert "iteration_1/train-00000-of-00001.parquet" not in printed
    assert done["err"].endswith(": nothing was sent\n")
    assert hub.asked("POST") == []


def test_a_push_is_loaded_by_its_tag(hub: Hub, project: Path) -> None:
    """Two versions, each under its tag with its own rows and images; the later card says what changed; no third commit."""
    (first,) = push(hub, project, ["me/set", "--tag", "v1", "--iteration", "1"])
    assert (first["code"], first["out"]) == (0, f"{hub.url}/datasets/me/set/tree/v1\n"), first["err"]
    rewrite(project, pairs_of()[:5])
    dropped = project / paths.dropped("1")
    rows = [*read_rows(dropped, Dropped, made_by="x"), Dropped("train-00005", "length_gap", "")]
    write_rows(dropped, rows, Dropped)
    second, again = push(hub, project, ["me/set", "--tag", "v2"], ["me/set", "--tag", "v2"])
    assert (second["code"], again["code"]) == (0, 0), second["err"] + again["err"]
    assert "nothing to push" in again["err"]
    assert len(hub.repo("me/set").commits) == 3  # the Hub's own, and two
    program = (
        "from datasets import load_dataset\n"
        "for tag, config in (('v1', 'iteration_1'), ('v2', 'iteration_1'), ('v2', 'iteration_2')):\n"
        "    rows = load_dataset('me/set', config, revision=tag, split='train')\n"
        "    print(len(rows), {row['images'][0].size for row in rows}, rows[0]['margin'])\n"
    )
    assert load(hub, project, program) == [f"{rows} {{(28, 28)}} 1.0" for rows in (6, 5, 6)]
    at = hub.repo("me/set").at("v2")
    assert at is not None
    card = hub.content(at.tree["README.md"]).decode()
    assert "- iteration 1: 6 -> 5 pairs, 7 -> 7 prompts, 28 -> 28 candidates" in card
    assert "- iteration 2 added: 6 pairs from 7 prompts" in card
    assert TOKEN not in first["err"] + second["err"] + again["err"] + card


def test_what_is_wrong_is_one_line_and_nothing_is_sent(hub: Hub, project: Path) -> None:
    """A wrong option, a missing table, a dataset that fails a gate: exit 1, and no repository."""
    with (project / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("# hf_" + "AbCdEfGhIj" * 3 + "\n")
    line = len((project / "params.yaml").read_text(encoding="utf-8").splitlines())
    cases = {
        "--iteration: got 7, expected one of 1, 2, 3 (params.yaml)": ["--iteration", "7"],
        "images: got url, expected embed or reference": ["--images", "url"],
        "Next: dvc repro sample_prompts": [],
        f"provenance/params.yaml: line {line}: got a Hugging Face token": ["--iteration", "2"],
    }
    (project / paths.PROMPTS).rename(project / "prompts")
    done = push(hub, project, *(["me/set", *words] for words in list(cases.values())[:3]))
    (project / "prompts").rename(project / paths.PROMPTS)
    done += push(hub, project, ["me/set", *list(cases.values())[3]])
    for message, one in zip(cases, done, strict=True):
        assert message in one["err"].splitlines()[-1]
        assert (one["code"], one["out"]) == (1, "")
        assert "AbCdEf" not in one["err"]
    assert hub.asked("POST") == []


def test_what_a_policy_wrote_that_was_told_the_truth_is_refused(
    hub: Hub, project: Path, tmp_path: Path
) -> None:
    """Pairs of iteration 2 come from policy 1: they are refused if the truth chose a pair of iteration 1, in a dry run, too."""
    first, *others = pairs_of()
    rewrite(project, [dataclasses.replace(first, origin=ORACLE), *others])
    words = ["me/set", "--iteration", "2"]
    for done in push(hub, project, words, [*words, "--dry-run", str(tmp_path / "out")]):
        assert (done["code"], done["out"]) == (1, "")
        assert done["err"].startswith(
            "data/select_pairs/1/pairs.parquet: row 0: origin: got oracle, expected pairs that were made without the truth "
            "about their images (policy 1 was trained on them). Next: take another select_pairs.order in params.yaml"
        )
        assert len(done["err"].splitlines()) == 1
    assert hub.asked("POST") == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_is_one_line(hub: Hub, project: Path, tmp_path: Path) -> None:
    """A file in the way, a name that is too long, a folder with other content: exit 1, and nothing is changed."""
    (tmp_path / "mine").write_text("mine")
    cases = {
        str(tmp_path / "mine/out"): "expected a folder to write to",
        str(tmp_path / ("x" * 300)): "got File name too long",
        str(tmp_path / "mine"): "got something is there, expected a new or empty folder",
    }
    done = push(hub, project, *(["me/set", "--dry-run", folder] for folder in cases))
    for words, one in zip(cases.values(), done, strict=True):
        assert (one["code"], one["out"]) == (1, "")
        assert words in one["err"].splitlines()[-1]
        assert "Traceback" not in one["err"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_refused_dry_run_leaves_nothing(hub: Hub, project: Path, tmp_path: Path) -> None:
    """A token in params.yaml, of a known form or the user's own: no folder contains it, and an older release is unchanged."""
    older, params = tmp_path / "out", project / "params.yaml"
    words = ["me/set", "--dry-run", str(older), "--iteration", "2"]
    (first,) = push(hub, project, words)
    assert first["code"] == 0, first["err"]
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}
    clean = params.read_text(encoding="utf-8")
    for secret, named in (("hf_" + "AbCdEfGhIj" * 3, "a Hugging Face token"), (TOKEN, "the write token")):
        params.write_text(f"{clean}# {secret}\n", encoding="utf-8")
        new = [*words[:2], str(tmp_path / "new"), *words[3:]]
        for done in push(hub, project, words, new):
            assert (done["code"], done["out"]) == (1, "")
            assert f"got {named}" in done["err"].splitlines()[-1]
    assert {path: path.read_bytes() for path in older.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "hub", "out", "project"}
