"""`export`, `diff` and `stats` of a published set, as a user meets them, over a Hub on this machine.

What a command prints is tested in a separate process; refusals and drawing in this one, to be fast.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

from csrdata import paths
from csrdata.cli import app, main
from csrdata.errors import UserError
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.hub.fetch import Source
from csrdata.publishing.hub.pushing import push_folder
from csrdata.publishing.hub.remote import fetch_iteration, fetch_pairs
from csrdata.publishing.origins import of_source
from csrdata.publishing.release.manifest import Model
from csrdata.publishing.release.results import Results
from csrdata.publishing.release.writing import write_release
from csrdata.records import ORACLE, Dropped, Pair, Prompt, Response, Sentence
from csrdata.sources.microworld.source import ORIGIN
from csrdata.storage.tables import seal, write_rows
from tests.imports import ROOT
from tests.inspection.made import DROPPED, PAIR, PROMPTS, RESPONSES, SENTENCES
from tests.publishing.hub_server import environment, online, serve
from tests.publishing.hub_state import TOKEN, Hub
from tests.tiny import pictures

FLIPPED = dataclasses.replace(PAIR, chosen=PAIR.rejected, rejected=PAIR.chosen)
SET = "hf://datasets/me/set"


def _csrdata(
    folder: Path, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words],
        cwd=folder,
        env=dict(env or os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two iterations: in the second, chosen and rejected are swapped."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    pictures(folder / "images", 2)
    write_rows(folder / paths.PROMPTS, PROMPTS, Prompt)
    for name, pair in (("1", PAIR), ("2", FLIPPED)):
        write_rows(folder / paths.candidates(name) / "00000.parquet", SENTENCES, Sentence)
        seal(folder / paths.candidates(name), Sentence, fingerprint={})
        write_rows(folder / paths.responses(name) / "00000.parquet", RESPONSES, Response)
        seal(folder / paths.responses(name), Response, fingerprint={})
        write_rows(folder / paths.pairs(name), [pair], Pair)
        write_rows(folder / paths.dropped(name), [DROPPED], Dropped)
    return folder


@pytest.fixture(scope="module")
def hub(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with two versions of the dataset: v1 holds the first iteration, v2 both and the world's version."""
    scratch = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, serve(scratch / "server") as made:
        online(patch, scratch)
        for tag, names in (("v1", ["1"]), ("v2", ["1", "2"])):
            release = scratch / tag
            write_release(
                release,
                repo_id="me/set",
                iterations=[project_tables(name, root=project) for name in names],
                images="embed",
                project_root=project,
                params=yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8")),
                params_file=project / "params.yaml",
                lock=None,
                models=[
                    Model(role="base policy", architecture="LlavaForConditionalGeneration", sha256="0" * 64)
                ],
                origin=of_source(ORIGIN),
                tag=tag,
                results=Results(pairs={}, world=2) if tag == "v2" else None,
            )
            push_folder(release, repo_id="me/set", tag=tag, message=tag, token=TOKEN, endpoint=made.url)
        yield made


def _json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_export_says_how_to_train(project: Path, tmp_path: Path) -> None:
    """The files are in the folder, the code that loads them is on stdout, the counts are on stderr."""
    done = _csrdata(project, "export", "--to", "ms-swift", str(tmp_path / "out"), "--iteration", "1")
    assert done.stdout == (
        f"ROOT_IMAGE_DIR={tmp_path}/out swift rlhf --rlhf_type dpo --model MODEL --dataset {tmp_path}/out/pairs.jsonl\n"
    )
    assert "1 pairs, 1 images" in done.stderr
    (image,) = (tmp_path / "out/images").iterdir()
    assert image.read_bytes() == (project / "images/0.png").read_bytes()


def test_export_as_json(project: Path, tmp_path: Path) -> None:
    """With --json, stdout is one object with the documented keys."""
    done = _csrdata(project, "export", "--to", "trl", str(tmp_path / "out"), "--iteration", "1", "--json")
    found = json.loads(done.stdout)
    assert (found["to"], found["iterations"], found["pairs"], found["images"]) == ("trl", ["1"], 1, 1)
    page = Path("docs/inspection.md").read_text(encoding="utf-8")
    assert [name for name in found if f"`{name}`" not in page] == []


def test_an_export_warns_of_pairs_that_the_truth_chose(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are written, as rows that name no origin; a line on stderr says so. Without such pairs there is none."""
    monkeypatch.chdir(project)
    chosen = [dataclasses.replace(PAIR, number=0), dataclasses.replace(FLIPPED, number=1, origin=ORACLE)]
    with monkeypatch.context() as patch:
        patch.setattr(paths, "pairs", lambda name: tmp_path / name / "pairs.parquet")
        for name, rows in (("1", [PAIR]), ("2", chosen)):
            write_rows(paths.pairs(name), rows, Pair)
        for name, told in (
            ("1", ""),
            ("2", "(1 of iteration 2; origin oracle)"),
            ("all", "(1 of iteration 2;"),
        ):
            which = ["--iterations", name] if name == "all" else ["--iteration", name]
            words = ["export", "--to", "trl", str(tmp_path / f"out-{name}"), *which, "--json"]
            app(words, standalone_mode=False)
            said = capsys.readouterr()
            assert json.loads(said.out)["pairs"] == (1 if name == "1" else 2)
            assert ("warning: the truth about the images chose pairs" in said.err) == bool(told)
            assert told in said.err


def test_diff_of_two_iterations(project: Path) -> None:
    """Chosen and rejected are swapped: one flipped pair, nothing else."""
    pairs = _json(_csrdata(project, "diff", "1", "2", "--json"))["pairs"]
    assert (pairs["flipped"], pairs["same"], pairs["changed"], pairs["lost"], pairs["added"]) == (
        1,
        0,
        0,
        0,
        0,
    )


def test_diff_draws_a_report(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --json, `diff` prints tables with both labels and the prompt of the flipped pair."""
    monkeypatch.chdir(project)
    app(["diff", "1", "2"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "a: iteration 1" in shown
    assert "flipped: train-00000" in shown


def test_stats_of_a_published_set_are_the_projects(project: Path, hub: Hub, tmp_path: Path) -> None:
    """An iteration that was pushed and fetched gives the same figures as in its project."""
    env = environment(hub, tmp_path / "home")
    there = _json(_csrdata(tmp_path, "stats", f"{SET}@v2", "--json", env=env))
    assert there["iteration"] == "2"  # the last one
    assert there == _json(_csrdata(project, "stats", "--iteration", "2", "--json"))


def test_diff_of_two_tags_and_of_a_tag_with_a_project(project: Path, hub: Hub, tmp_path: Path) -> None:
    """A tag means its last iteration, or the one named after it; it can be compared with an iteration of the project."""
    env = environment(hub, tmp_path / "home")
    tags = _json(_csrdata(tmp_path, "diff", f"{SET}@v1", f"{SET}@v2", "--json", env=env))
    assert (tags["a"], tags["b"]) == (f"{SET}@v1, iteration 1", f"{SET}@v2, iteration 2")
    assert tags["pairs"]["flipped"] == 1
    assert tags["worlds"] == {"a": None, "b": 2}
    mixed = _json(_csrdata(project, "diff", f"{SET}@v2:1", "1", "--json", env=env))
    assert mixed["pairs"]["same"] == 1
    assert mixed["pairs"]["rescored"] == 0


@pytest.fixture
def last_line(
    project: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command that must fail, with exit code 1 and nothing on stdout, and return the last line of stderr."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["csrdata", *words])
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capsys.readouterr()
        assert (leaving.value.code, out) == (1, "")
        return str(err.splitlines()[-1])

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["diff", "HEAD~1", "1"],
            "a version: got HEAD~1, expected one of 1, 2, 3 (params.yaml), REV:T or hf://",
        ),
        (["diff", "3", "1"], "data/select_pairs/3/pairs.parquet: got no such table"),
        (["diff", "HEAD:1", "1"], "revision HEAD: got"),
        (
            ["export", "--to", "axolotl", "out"],
            "--to: got axolotl, expected one of trl, llava, llama-factory",
        ),
        (["export", "--to", "trl", "images"], "images: got something is there"),
        (["stats", SET], "expected OWNER/NAME@TAG"),
        (["stats", f"{SET}@v9"], "revision: got v9, expected one of v1, v2"),
        (["diff", f"{SET}@v9:1", "1"], "revision: got v9, expected one of v1, v2"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(
    last_line: Callable[..., str], words: list[str], message: str
) -> None:
    """The last line of the error says what was expected."""
    assert message in last_line(*words)


def test_images_stay_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    """Figures come from the tables in the release; its rows with images are not downloaded."""
    before = len(hub.asked(r"/resolve/"))
    fetch_iteration(Source("me/set", "v2"), None, scratch=tmp_path, endpoint=hub.url)
    fetched = hub.asked(r"/resolve/")[before:]
    assert any("csrdata/iteration_2/pairs.parquet" in path for path in fetched)
    assert not any("/train-" in path for path in fetched)


def test_an_iteration_that_a_tag_lacks_is_one_line(hub: Hub, tmp_path: Path) -> None:
    """The error names the iterations that the dataset has."""
    with pytest.raises(
        UserError, match=r"me/set@v1: iteration: got 2, expected one of 1\. Next: csrdata stats"
    ):
        fetch_pairs(Source("me/set", "v1"), "2", scratch=tmp_path, endpoint=hub.url)
