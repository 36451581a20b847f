"""`csrdata report SOURCE --against SOURCE`: iterations, revisions, tags of a Hub on this machine, and other projects."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline.report_sources import report_content
from csrdata.publishing.hub.pushing import push_folder
from csrdata.records import Dropped, Pair
from csrdata.report.writing import Written, write_report
from csrdata.storage.tables import read_rows, write_rows
from tests.publishing.hub_server import environment, online, serve
from tests.publishing.hub_state import TOKEN, Hub
from tests.publishing.project import REPO, make_project, release
from tests.report.browser import chromium, need_browser

SET = f"hf://datasets/{REPO}"


def _edit(project: Path, name: str) -> None:
    """Flip the first pair of an iteration and leave the last one out."""
    pairs = read_rows(project / paths.pairs(name), Pair, made_by="")
    first = replace(pairs[0], chosen=pairs[0].rejected, rejected=pairs[0].chosen)
    write_rows(project / paths.pairs(name), [first, *pairs[1:-1]], Pair)
    dropped = read_rows(project / paths.dropped(name), Dropped, made_by="")
    removed = Dropped(pairs[-1].prompt_id, "under_margin", "taken out here")
    rows = sorted([*dropped, removed], key=lambda row: row.prompt_id)
    write_rows(project / paths.dropped(name), rows, Dropped)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two iterations with six pairs each."""
    return make_project(tmp_path_factory.mktemp("sources") / "mine")


@pytest.fixture(scope="module")
def arm(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose iterations have a flipped pair and a pair less."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("arms") / "arm"))
    for name in ("1", "2"):
        _edit(folder, name)
    return folder


@pytest.fixture(scope="module")
def hub(project: Path, arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with two versions: v1 is of the project, v2 of the arm and without the images (`reference`)."""
    scratch = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, serve(scratch / "server") as made:
        online(patch, scratch)
        for tag, root, images in (("v1", project, "embed"), ("v2", arm, "reference")):
            release(root, scratch / tag, tag=tag, images=images)
            push_folder(scratch / tag, repo_id=REPO, tag=tag, message=tag, token=TOKEN, endpoint=made.url)
        yield made


def _write(tmp_path: Path, source: str | None, *against: str) -> Written:
    """Write the report of sources as the command does."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return write_report(
        report_content(source, list(against), scratch=scratch), tmp_path / "page.html", form=None
    )


def test_two_iterations(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a series, with the project's images; the same one twice has two names."""
    monkeypatch.chdir(project)
    written = _write(tmp_path, "1", "2", "1")
    assert written.series == {"iteration 1": 6, "iteration 2": 6, "1, iteration 1": 6}
    assert (written.images, written.images_missing) == (7, 0)


def test_two_arms_in_a_browser(
    project: Path, arm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects, read from a folder that is no project: pairs that are the same, flipped and lost are counted, and images are there."""
    need_browser()
    monkeypatch.chdir(tmp_path)
    written = _write(tmp_path, str(project), str(arm))
    assert written.series == {
        "mine, iteration 1": 6,
        "mine, iteration 2": 6,
        "arm, iteration 1": 5,
        "arm, iteration 2": 5,
    }
    assert Path.cwd() == tmp_path
    with chromium() as opened:
        page = opened.open(Path(written.path))
        page.click("#tab-compare")
        for select, label in zip(
            page.locator("#view-compare select").all()[:2],
            ("mine, iteration 1", "arm, iteration 1"),
            strict=True,
        ):
            select.select_option(label=label)
        bars = page.locator("#compared .bar-count").all_inner_texts()
        assert [int(text.split()[0]) for text in bars] == [4, 1, 0, 1, 0]
        page.click("#tab-pairs")
        page.wait_for_selector(".card[data-ready] img")
        assert opened.messages == []


def test_two_tags(hub: Hub, tmp_path: Path) -> None:
    """Published sets, from a folder without a project: their trees come along, their images do not; the page opens."""
    need_browser()
    words = ["report", f"{SET}@v1", "--against", f"{SET}@v2", "--against", f"{SET}@v2:1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words],
        cwd=tmp_path,
        env=environment(hub, tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert written["series"] == {
        f"{SET}@v1, iteration 2": 6,
        f"{SET}@v2, iteration 2": 5,
        f"{SET}@v2, iteration 1": 5,
    }
    assert written["images"] == 0
    with chromium() as opened:
        page = opened.open(tmp_path / written["path"])
        assert opened.count() == "16 pairs"
        page.wait_for_selector(".card[data-ready] .no-image")
        page.click(".card[data-ready] [data-tree]")
        page.wait_for_selector("#tree[open] .candidate")
        assert opened.messages == []


def test_a_revision_and_what_is_here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """REV:T is read from git and DVC; the working tree, which was changed since, is the other side."""
    folder = Path(shutil.copytree(project, tmp_path / "repository"))
    monkeypatch.chdir(folder)
    name = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (
        ("git", "init", "-q"),
        (sys.executable, "-m", "dvc", "init", "-q"),
        (sys.executable, "-m", "dvc", "add", "-q", "data/select_pairs"),
        ("git", "add", "params.yaml", ".dvc", "data/select_pairs.dvc"),
        ("git", *name, "commit", "-qm", "pairs"),
    ):
        subprocess.run(words, check=True, capture_output=True)
    _edit(folder, "1")
    written = _write(tmp_path, "1", "HEAD:1")
    assert written.series == {"iteration 1": 5, "HEAD, iteration 1": 6}
    with pytest.raises(UserError, match="no such file, expected an output of the pipeline at that revision"):
        report_content("HEAD:9", [], scratch=tmp_path / "scratch")


@pytest.mark.parametrize("source", ["9", "nope.parquet", "", ":1", "hf://datasets/me", "params.yaml"])
def test_a_source_that_is_none_is_one_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """No iteration, no folder, no dataset: the line says what a source may be."""
    monkeypatch.chdir(project)
    with pytest.raises(UserError) as caught:
        _write(tmp_path, source)
    assert "Next: csrdata " in str(caught.value)
