"""lmms-eval runs for real on an iteration of a small project; what it leaves is checked like any outside input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from ruamel.yaml import YAML

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.harness.columns import TASKS
from csrdata.evaluation.harness.process import check_installed, run_harness, task_names
from csrdata.evaluation.harness.results import read_results
from csrdata.evaluation.published_average import COLUMNS
from csrdata.pipeline import evaluate_policy, sample_prompts
from csrdata.pipeline.harness import FILED
from csrdata.policy.loading import load_policy, new_chain
from csrdata.records import Kind, Question
from csrdata.storage.tables import read_rows
from tests.evaluation.harness.task import TASK, write_task
from tests.pipeline.world import draw_world, save_tiny_scorers, small_params
from tests.policy.test_loading import write_adapter
from tests.teaching import teach_rows
from tests.tiny import tiny_llava

LIMIT = 4
PYTHON = Path(os.environ.get("CSRDATA_LMMS_EVAL_PYTHON", sys.executable))
"""The interpreter that has lmms-eval: this one, or that of another environment."""
_ASK = "import importlib.util as u; s = u.find_spec('lmms_eval'); print('' if s is None else s.origin)"


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder of the installed lmms-eval."""
    done = subprocess.run([PYTHON, "-c", _ASK], capture_output=True, text=True, check=True)
    if not done.stdout.strip():
        pytest.skip(
            "the extra lmms-eval is not installed, and CSRDATA_LMMS_EVAL_PYTHON names no Python that has it"
        )
    return Path(done.stdout.strip()).parent


def _csrdata(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def _project() -> list[Question]:
    """Make a project whose first iteration is an adapter on a base that was taught to say yes and no; return its questions."""
    params = small_params(
        evaluate_policy={"max_new_tokens": LIMIT, "batch_size": 8}, source={"questions_per_image": 6}
    )
    YAML().dump(params.model_dump(), Path("params.yaml"))
    draw_world()
    sample_prompts.run(params)
    asked = [
        one
        for one in read_rows(paths.QUESTIONS, Question, made_by="")
        if one.split == "held_out" and one.kind == Kind.YES_NO
    ]
    said = ("Yes", "No", "No", "It is.")  # right, wrong and unreadable ones
    rows = [
        (Image.open(one.image).convert("RGB"), one.text, said[number % len(said)])
        for number, one in enumerate(asked)
    ]
    base = teach_rows(tiny_llava(paths.policy(paths.BASE)), rows)
    with new_chain(paths.policy("1"), previous=base, name="1") as folder:
        write_adapter(load_policy(base).model, folder, seed=1, size=0.01)
    save_tiny_scorers()
    evaluate_policy.run(params, "1")
    return asked


def test_a_local_task_is_our_pope(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an iteration's merged adapters lmms-eval's accuracy equals our strict POPE of the same questions; figures are filed."""
    monkeypatch.chdir(tmp_path)
    asked = _project()
    write_task(tmp_path / "tasks", asked, root=tmp_path, limit=LIMIT)
    words = (
        "--harness",
        "lmms-eval",
        "--tasks",
        TASK,
        "--iteration",
        "1",
        "--include-path",
        "tasks",
        "--python",
        str(PYTHON),
        "--json",
    )
    done = _csrdata(tmp_path, "evaluate", *words, "--card", "CARD.md")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours = json.loads(
        _csrdata(tmp_path, "evaluate", "--iteration", "1", "--set", "held_out", "--json").stdout
    )
    strict = ours["figures"]["pope_strict_accuracy"]["value"]
    accuracy = found["figures"]["accuracy"]
    assert 0 < strict < 100
    assert 100 * accuracy["value"] == pytest.approx(strict)
    share = accuracy["value"]
    assert accuracy["stderr"] == pytest.approx((share * (1 - share) / (len(asked) - 1)) ** 0.5)
    assert accuracy["low"] < share < accuracy["high"]
    facts = found["protocol"]
    assert (facts["questions"], facts["max_new_tokens"], facts["decoding"]) == (
        len(asked),
        str(LIMIT),
        "greedy",
    )
    assert (facts["task"], facts["task_version"]) == (TASK, "1.0")
    assert facts["versions"]["lmms-eval"] == check_installed(PYTHON)
    assert len(facts["model_sha256"]) == 64
    assert json.loads((FILED / "1" / f"{TASK}.json").read_text(encoding="utf-8")) == found
    assert f"lmms-eval {TASK}" in Path("CARD.md").read_text(encoding="utf-8")


def test_each_column_has_its_task(package: Path) -> None:
    """The twelve columns are in order, and each task is a name and each figure a metric in the installed package's files."""
    files = [path.read_text(encoding="utf-8") for path in (package / "tasks").rglob("*.yaml")]
    lines = {line.strip().replace('"', "").replace(" :", ":") for text in files for line in text.splitlines()}
    assert tuple(one.column for one in TASKS) == COLUMNS
    for one in TASKS:
        assert {f"task: {one.task}", f"group: {one.task}"} & lines, one.task
        assert f"- metric: {one.figure}" in lines, one.figure


def test_a_missing_harness_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed, or no interpreter: one line, with the extra that installs it."""
    monkeypatch.setattr("csrdata.evaluation.harness.process.NEEDED", ("no_such_package",))
    with pytest.raises(UserError, match=r"got no no_such_package.*csrdata\[lmms-eval\]"):
        check_installed(None)
    with pytest.raises(UserError, match="expected a Python interpreter"):
        check_installed(Path("no-python"))


@pytest.mark.parametrize("tasks", ["", "a,,b", "../x", "a,a", "a b", "a=1"])
def test_tasks_are_names(tasks: str) -> None:
    """A path, an empty name, one given twice and one that would be an argument are refused."""
    with pytest.raises(UserError, match="names of tasks"):
        task_names(tasks)


def test_a_failed_run_is_one_line(tmp_path: Path) -> None:
    """A process that leaves no results is an error that quotes what it printed last."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ValueError: Tasks not found: x'\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(UserError, match="ValueError: Tasks not found: x") as caught:
        run_harness(
            tmp_path, tmp_path, tasks=["x"], include=None, device="cpu", dtype="float32", python=python
        )
    assert "\n" not in str(caught.value)


def _left(folder: Path, change: Callable[[dict[str, Any], list[dict[str, Any]]], object]) -> Path:
    """Write what lmms-eval leaves for two questions, after a change."""
    figures = {"alias": "t", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_stderr_clt,none": "N/A"}
    results = {
        "results": {"t": figures},
        "group_subtasks": {"t": []},
        "configs": {"t": {"generation_kwargs": {"max_new_tokens": 4}, "metadata": [{"version": 1.0}]}},
        "versions": {"t": "Yaml"},
        "n-shot": {"t": 0},
        "n-samples": {"t": {"original": 2, "effective": 2}},
    }
    rows = [
        {"doc_id": number, "target": "yes", "resps": "yes", "token_counts": [{"output_tokens": 1}]}
        for number in range(2)
    ]
    change(results, rows)
    (folder / "1_results.json").write_text(json.dumps(results), encoding="utf-8")
    samples = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "1_samples_t.jsonl").write_text(samples, encoding="utf-8")
    return folder


def test_results_are_read(tmp_path: Path) -> None:
    """Figure, standard error, interval, version and settings; an answer without words is counted."""
    folder = _left(tmp_path, lambda _, rows: rows[0].update(resps=" "))
    (found,) = read_results(folder, ["t"])
    one = found.figures["acc"]
    assert (one.value, one.stderr, one.stderr_of_scores) == (0.5, 0.1, {})
    assert (one.low, one.high) == (pytest.approx(0.304, abs=1e-3), pytest.approx(0.696, abs=1e-3))
    assert (found.version, found.questions, found.empty_answers) == ("1.0", 2, 1)
    assert found.generation == {"max_new_tokens": 4}
    folder = _left(tmp_path, lambda found, _: found["configs"]["t"].pop("generation_kwargs"))
    assert read_results(folder, ["t"])[0].generation == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found, _: found["results"]["t"].update({"acc,none": "good"}), "got good, expected a number"),
        (
            lambda found, _: found["results"]["t"].update({"acc,none": float("nan")}),
            "expected a finite number",
        ),
        (lambda found, _: found["results"]["t"].update({"acc_stderr,none": -1.0}), "0 or more"),
        (lambda found, _: found["results"]["t"].clear(), "one figure or more"),
        (lambda found, _: found.pop("configs"), "no such key"),
        (lambda found, _: found.update(results={"u": {}}, group_subtasks={}), "the figures of t"),
        (lambda found, _: found["n-samples"]["t"].update(effective=1), "all questions of the task"),
        (lambda _, rows: rows.pop(), "1 answers"),
        (lambda _, rows: rows[1].update(doc_id=0), "the number of a question, once"),
        (lambda _, rows: rows[1].update(resps="", token_counts=[None]), "the model failed"),
    ],
)
def test_malformed_results_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any], list[dict[str, Any]]], object], words: str
) -> None:
    """A figure that is no finite number, a missing task, part of the questions, an answer too few, double or failed: one line."""
    with pytest.raises(UserError, match=words) as caught:
        read_results(_left(tmp_path, change), ["t"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--harness", "other", "--tasks", "a", "--iteration", "1"), "expected lmms-eval"),
        (("--harness", "lmms-eval", "--iteration", "1"), "--tasks: got nothing"),
        (("--harness", "lmms-eval", "--tasks", "a", "--iteration", "1", "--set", "x"), "--set: got x"),
        (("--tasks", "a", "--set", "x", "--iteration", "1"), "--harness with it"),
        (("--iteration", "1"), "--set: got nothing"),
    ],
)
def test_options_of_a_harness_belong_together(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """A harness needs tasks and an iteration and has no set of ours; its options need a harness."""
    done = _csrdata(tmp_path, "evaluate", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert said in done.stderr
