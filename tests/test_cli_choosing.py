"""`stats` of a file, `sweep`, `gate`, `curate` and `scorers`, as a user calls them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from csrdata import paths
from csrdata.params import load_params
from csrdata.pipeline.curation import curation
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence, Signal
from csrdata.storage.tables import seal, write_rows
from tests.imports import ROOT
from tests.inspection.made import DROPPED, PAIR, PROMPTS, RESPONSES, SENTENCES

LABELS = "prompt_id,number,iteration,label\ntrain-00000,0,1,bad\ntrain-00000,0,2,good\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one small iteration; nothing is known of the truth."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    write_rows(tmp_path / paths.PROMPTS, PROMPTS, Prompt)
    signals = [Signal("train-00000", node, "held_out", 10.0 * node) for node in (0, 1, 2)]
    for folder, rows, record in (
        (paths.candidates("1"), SENTENCES, Sentence),
        (paths.signals("1"), signals, Signal),
        (paths.responses("1"), RESPONSES, Response),
    ):
        write_rows(tmp_path / folder / "00000.parquet", rows, record)
        seal(tmp_path / folder, record, fingerprint={})
    write_rows(tmp_path / paths.pairs("1"), [PAIR], Pair)
    write_rows(tmp_path / paths.dropped("1"), [DROPPED], Dropped)
    (tmp_path / "labels.csv").write_text(LABELS, encoding="utf-8")
    (tmp_path / "others.csv").write_text(
        LABELS.replace(",1,", ",77,").replace(",2,", ",78,"), encoding="utf-8"
    )
    return tmp_path


def _csrdata(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_stats_of_a_file_has_the_keys_of_the_projects(project: Path) -> None:
    """The JSON of any pairs has the same keys as the project's; what a file does not say is null or 0."""
    pl.DataFrame({"prompt": ["p"], "chosen": ["a b"], "rejected": ["c"]}).write_parquet(project / "x.parquet")
    own = json.loads(_csrdata(project, "stats", "--json").stdout)
    other = json.loads(_csrdata(project, "stats", "x.parquet", "--near-duplicates", "--json").stdout)
    assert own.keys() == other.keys()
    assert other["length"]["length_only_picks"] == "longer"
    assert (other["variety"]["near_duplicates"], own["variety"]["near_duplicates"]) == (0, None)
    missing = _csrdata(project, "stats", "no.parquet")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert missing.stderr.startswith("SOURCE: got no.parquet")


def test_gate_exits_with_1_where_a_limit_fails(project: Path) -> None:
    """Limits that hold end with 0, one that does not with 1, and a misspelt figure is one line."""
    for bound, code in ((1, 0), (2, 1)):
        (project / "gate.yaml").write_text(f"stats: {{pairs.kept: {{min: {bound}}}}}\n", encoding="utf-8")
        done = _csrdata(project, "gate", "gate.yaml", "--json")
        assert (done.returncode, json.loads(done.stdout)["holds"]) == (code, code == 0)
    (project / "gate.yaml").write_text("stats: {pairs.kpet: {min: 1}}\n", encoding="utf-8")
    wrong = _csrdata(project, "gate", "gate.yaml")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (1, "", 1)
    assert "stats.pairs.kept" in wrong.stderr


def test_show_names_the_image_where_it_cannot_draw_it(project: Path) -> None:
    """Into a pipe goes the path, never an escape sequence, whatever the terminal can."""
    done = subprocess.run(
        [sys.executable, "-m", "csrdata.cli", "show", "train-00000", "--image"],
        cwd=project,
        env={**os.environ, "TERM": "xterm-kitty"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "images/0.png"
    assert "\x1b" not in done.stdout


def test_sweep_needs_no_model(project: Path) -> None:
    """The first row is the present setting; the rest is the grid without it. Where sentences are paired, a line says what is."""
    done = _csrdata(project, "sweep", "--image-weight", "0:1:0.5", "--scale", "zscore", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [row["setting"]["image_weight"] for row in rows] == [0.9, 0.0, 0.5, 1.0]
    assert done.stderr.startswith("params.yaml makes other pairs (sentences): these are of the best and")
    for words in (
        ("--image-weight", "0:2:0.5"),
        ("--scale", "log"),
        ("--scale", "mean_log"),
        ("--margin", "a"),
        ("--margin", "0:1:0"),
    ):
        wrong = _csrdata(project, "sweep", *words)
        assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (1, "", 1)


def test_scorers_without_truth_are_compared_with_each_other(project: Path) -> None:
    """Without truth there are correlations alone; an unknown scorer is one line."""
    done = _csrdata(project, "scorers", "--json")
    cards = {card["name"]: card for card in json.loads(done.stdout)["scorers"]}
    assert list(cards) == ["search", "likelihood", "length", "held_out"]
    assert cards["held_out"]["correlations"]["search"] == -0.5
    assert (cards["search"]["auc"], cards["search"]["correlations"]["likelihood"]) == (None, None)
    assert "expected one of search" in _csrdata(project, "scorers", "clip").stderr


def test_curate_writes_one_line_and_its_labels(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and condition become parameters and a file; every other line of params.yaml stays; --clear takes them back."""
    before = (project / "params.yaml").read_text(encoding="utf-8")
    where = 'margin > 0.5 and "#" != chosen'
    done = _csrdata(project, "curate", "--labels", "labels.csv", "--where", where, "--json")
    assert done.returncode == 0, done.stderr
    now = {"labels": "curation/labels.csv", "drop_labels": ["bad"], "where": where}
    assert json.loads(done.stdout) == {"curation": now}
    after = (project / "params.yaml").read_text(encoding="utf-8")
    assert len(set(after.splitlines()) - set(before.splitlines())) == 1
    monkeypatch.chdir(project)
    settings = load_params().select_pairs.curation
    assert settings is not None
    assert (settings.labels, settings.drop_labels) == ("curation/labels.csv", ["bad"])
    outcomes, removed = curation(settings, name="1")([PAIR, DROPPED])
    assert [type(one) for one in outcomes] == [Dropped, Dropped]
    assert removed == {"label": 1}
    assert curation(settings, name="2")([PAIR])[0] == [PAIR]
    assert _csrdata(project, "curate", "--clear").returncode == 0
    assert load_params().select_pairs.curation is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--where", "__import__('os')"],
        ["--labels", "no.csv"],
        ["--labels", "params.yaml"],
        ["--labels", "others.csv"],
        ["--labels", "labels.csv", "--drop-labels", "ugly"],
        ["--drop-labels", "bad"],
        ["--clear", "--where", "margin > 1"],
    ],
    ids=" ".join,
)
def test_a_wrong_curation_changes_nothing(project: Path, words: list[str]) -> None:
    """Bad labels, files and conditions are one line; params.yaml and the labels stay as they were."""
    before = (project / "params.yaml").read_bytes()
    done = _csrdata(project, "curate", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert (project / "params.yaml").read_bytes() == before
    assert not (project / "curation").exists()
