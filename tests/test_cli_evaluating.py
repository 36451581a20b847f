"""`evaluate` and `compare` as a user calls them: answers of a file, of iterations, and of arms."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from csrdata import paths
from csrdata.pipeline import evaluate_policy, sample_prompts
from csrdata.records import Answer, Question
from csrdata.storage.tables import read_json, read_rows
from tests.evaluation.pack.files import POPE, POPE_SAYS, array, lines
from tests.imports import ROOT
from tests.pipeline.world import draw_world, save_tiny_scorers, small_params
from tests.tiny import tiny_llava

STATED = {
    "model": "theirs",
    "prompt": "as the set asks",
    "max_new_tokens": "6",
    "decoding": "greedy",
    "last_sentence": "counted",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose base and first iteration, both untrained, have answered the questions about drawn scenes."""
    folder = tmp_path_factory.mktemp("project")
    params = small_params(
        evaluate_policy={"max_new_tokens": 6, "batch_size": 8}, source={"questions_per_image": 2}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        YAML().dump(params.model_dump(), Path("params.yaml"))
        draw_world()
        sample_prompts.run(params)
        tiny_llava(paths.policy("1"), seed=1)
        save_tiny_scorers()
        for name in ("base", "1"):
            evaluate_policy.run(params, name)
        shutil.copytree(
            ROOT / "metrics/ablation", "metrics/ablation", ignore=shutil.ignore_patterns("[1-9]*.json")
        )
        questions = [
            one for one in read_rows(paths.QUESTIONS, Question, made_by="") if one.split == "held_out"
        ]
        said = {one.question_id: one.text for one in read_rows(paths.answers("1"), Answer, made_by="")}
        rows: list[dict[str, Any]] = [
            {"question_id": one.question_id, "response": said[one.question_id]} for one in questions
        ]
        lines(folder / "theirs.jsonl", [{"protocol": STATED}, *rows])
        lines(folder / "bare.jsonl", rows)
    return folder


def _csrdata(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_an_iterations_figures_are_its_metrics(project: Path) -> None:
    """`evaluate --iteration` gives what evaluate_policy wrote, with intervals and a protocol that leaves nothing open."""
    done = _csrdata(project, "evaluate", "--iteration", "1", "--set", "held_out", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    metrics = read_json(project / paths.stage_metrics("evaluate_policy", "1"), made_by="")["held_out"]
    figures = found["figures"]
    assert len(figures) > 10
    kinds = ("random", "popular", "adversarial")
    extra = {"pope_accuracy_mean", "pope_f1_mean", *(f"pope_f1_{kind}" for kind in kinds)}
    assert set(figures) - set(metrics) <= extra  # means over the kinds, which the stage does not have
    for name, one in figures.items():
        if name in extra:
            continue
        assert one["value"] == pytest.approx(metrics[name], abs=1e-6), name
    assert "unknown" not in found["protocol"].values()
    assert found["protocol"]["images"] == 4


def test_a_file_with_the_same_answers_has_the_same_figures(project: Path) -> None:
    """Answers that another program brings are measured as the policy's own, and compare without a difference."""
    own = json.loads(_csrdata(project, "evaluate", "--iteration", "1", "--set", "held_out", "--json").stdout)
    theirs = _csrdata(project, "evaluate", "--answers", "theirs.jsonl", "--set", "held_out", "--json")
    assert json.loads(theirs.stdout)["figures"] == own["figures"]
    done = _csrdata(project, "compare", "1", "theirs.jsonl", "--set", "held_out", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) > 10
    assert {row["contrast"]["difference"] for row in rows} <= {0.0, None}


def test_unknown_protocols_are_refused_until_accepted(project: Path) -> None:
    """Answers of unknown making are not compared with others; --accept-unknown allows it, and the JSON lists what is unknown."""
    words = ("compare", "base", "bare.jsonl", "--set", "held_out", "--json")
    refused = _csrdata(project, *words)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "got unknown" in refused.stderr
    assert "prompt" in json.loads(_csrdata(project, *words, "--accept-unknown").stdout)["unknown"]
    array(project / "p.json", {**STATED, "decoding": "beam"})
    other = _csrdata(project, *words, "--protocol", "p.json", "--accept-unknown")
    assert (other.returncode, "decoding: got beam" in other.stderr) == (1, True)


def test_a_card_gets_the_figures(project: Path) -> None:
    """`evaluate --card` writes the model-index with every figure and says so; stdout has the evaluation alone."""
    done = _csrdata(
        project, "evaluate", "--iteration", "1", "--set", "held_out", "--card", "CARD.md", "--json"
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    (index,) = YAML().load((project / "CARD.md").read_text(encoding="utf-8").split("---\n")[1])["model-index"]
    found = {metric["type"]: metric["value"] for metric in index["results"][0]["metrics"]}
    assert found == {name: one["value"] for name, one in figures.items() if one["value"] is not None}
    assert "figures in CARD.md" in done.stderr


def test_iterations_compare_on_all_splits(project: Path) -> None:
    """Two iterations have a row for each figure of each split, one family of tests, and with --power a number of images."""
    done = _csrdata(project, "compare", "base", "1", "--power", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["split"] for row in found["rows"]} == {"validation", "held_out", "out_of_distribution"}
    assert any(row["images_needed"] for row in found["rows"])
    assert all(
        row["contrast"]["p_holm"] >= row["contrast"]["p"] for row in found["rows"] if row["contrast"]["p"]
    )
    page = _csrdata(project, "compare", "base", "1", "--power", "2")
    assert "images for 2" in page.stdout


def test_arms_compare_over_their_seeds(project: Path) -> None:
    """Arms of metrics/ablation compare by their counts; a second seed becomes a level, and another kind of side is refused."""
    one = _csrdata(project, "compare", "arm:base", "shipped", "--set", "held_out", "--json")
    assert one.returncode == 0, one.stderr
    rows = {(row["split"], row["figure"]): row for row in json.loads(one.stdout)["rows"]}
    assert {split for split, _ in rows} == {"held_out"}
    chair = rows["held_out", "chair_s"]["contrast"]
    shipped = read_json(ROOT / "metrics/ablation/shipped/0.json", made_by="")["figures"]["3"]["held_out"][
        "chair_s"
    ][0]
    assert chair["b"] == pytest.approx(shipped, abs=1e-6)
    assert chair["p_holm"] < 0.01
    for arm in ("base", "shipped"):  # the project has seed 0 alone, however many are committed
        file = project / "metrics/ablation" / arm / "0.json"
        raw = json.loads(file.read_text(encoding="utf-8"))
        raw["origin"]["seed"] = 1
        array(file.with_name("1.json"), raw)
    two = json.loads(_csrdata(project, "compare", "arm:base", "shipped", "--json").stdout)
    assert (two["seeds"], len(two["rows"][0]["contrast"]["by_seed"])) == ([0, 1], 2)
    mixed = _csrdata(project, "compare", "1", "shipped")
    assert (mixed.returncode, mixed.stderr.count("\n")) == (1, 1)


def test_a_set_from_the_command_line_needs_no_project(tmp_path: Path) -> None:
    """POPE's public file and answers are enough; a page has the protocol, and a misspelt key is one line with the right one."""
    lines(tmp_path / "q.json", POPE)
    lines(
        tmp_path / "a.jsonl",
        [
            {"question_id": one["question_id"], "answer": text}
            for one, text in zip(POPE, POPE_SAYS, strict=True)
        ],
    )
    words = ("evaluate", "--answers", "a.jsonl", "--set", "pope", "--with", "strategy=random")
    done = _csrdata(tmp_path, *words, "--with", "file=q.json")
    assert done.returncode == 0, done.stderr
    assert "POPE accuracy, keyword rule" in done.stdout
    assert "unknown" in done.stdout
    for more, said in (
        (("--with", "flie=q.json"), "file"),
        (("--with", "file"), "KEY=VALUE"),
        (("--with", "file=missing.json"), "no such file"),
        (("--iteration", "1"), "got both"),
    ):
        wrong = _csrdata(tmp_path, *words, *more)
        assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (1, "", 1), wrong.stderr
        assert said in wrong.stderr
    assert "held_out" in _csrdata(tmp_path, "evaluate", "--answers", "a.jsonl", "--set", "held_out").stderr
