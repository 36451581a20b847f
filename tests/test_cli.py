"""The command line as a user meets it, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from csrdata import paths
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence
from csrdata.tables import write_rows
from tests.imports import ROOT
from tests.inspection.made import DROPPED, PAIR, PROMPTS, RESPONSES, SENTENCES

HEAVY = {"torch", "transformers", "trl", "peft", "open_clip", "datasets", "huggingface_hub", "polars", "dvc"}


def _csrdata(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csrdata.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    write_rows(folder / paths.PROMPTS, PROMPTS, Prompt)
    write_rows(folder / paths.candidates("1") / "00000.parquet", SENTENCES, Sentence)
    write_rows(folder / paths.responses("1") / "00000.parquet", RESPONSES, Response)
    write_rows(folder / paths.pairs("1"), [PAIR], Pair)
    write_rows(folder / paths.dropped("1"), [DROPPED], Dropped)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([command, "--help"] for command in ("stats", "diff", "export", "pull", "push", "run", "show")),
    ],
)
def test_help_loads_no_heavy_library(words: list[str]) -> None:
    """Help is an answer, not a wait: none of the large packages is imported, by the modules and not by the clock."""
    program = (
        "import sys\n"
        "from csrdata.cli import app\n"
        f"try: app({words!r})\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert HEAVY & set(done.stderr.splitlines()) == set()


def test_stats_prints_json_alone_on_stdout(project: Path) -> None:
    """Data goes to stdout and parses; which iteration was taken is said on stderr."""
    done = _csrdata(project, "stats", "--json")
    assert json.loads(done.stdout)["pairs"]["kept"] == 1
    assert json.loads(done.stdout)["search"] is None  # no run log: nothing was searched here
    assert done.stderr == "iteration 1\n"


def test_show_prints_the_tree(project: Path) -> None:
    """The tree of the prompt that was asked for."""
    assert "A red circle." in _csrdata(project, "show", "train-00000").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "trn-00001"], "PROMPT_ID: got trn-00001, expected a prompt such as train-00001"),
        (["stats", "--iteration", "9"], "--iteration: got 9, expected one of 1, 2, 3"),
        (["stats", "--iteration", "2"], "then: dvc repro generate_beams@2"),
        (["run", "select_pairz"], "stage: got select_pairz, expected select_pairs"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(project: Path, words: list[str], message: str) -> None:
    """No traceback, nothing on stdout, the next command in the last words."""
    done = _csrdata(project, *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_version_is_the_packages(project: Path) -> None:
    """`--version` prints what is installed."""
    import csrdata

    assert _csrdata(project, "--version").stdout.strip() == csrdata.__version__
