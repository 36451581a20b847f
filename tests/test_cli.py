"""The command line as a user calls it, in a separate process."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from csrdata import paths
from csrdata.cli import app
from csrdata.pipeline import ABOUT, STAGES
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence
from csrdata.storage.tables import seal, write_rows
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
    seal(folder / paths.candidates("1"), Sentence, fingerprint={})
    write_rows(folder / paths.responses("1") / "00000.parquet", RESPONSES, Response)
    seal(folder / paths.responses("1"), Response, fingerprint={})
    write_rows(folder / paths.pairs("1"), [PAIR], Pair)
    write_rows(folder / paths.dropped("1"), [DROPPED], Dropped)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *(
            [command, "--help"]
            for command in (
                "compare",
                "curate",
                "diff",
                "evaluate",
                "export",
                "gate",
                "import",
                "pull",
                "push",
                "run",
                "scorers",
                "show",
                "stats",
                "sweep",
            )
        ),
    ],
)
def test_help_loads_no_heavy_library(words: list[str]) -> None:
    """Help is fast: it imports none of the large packages."""
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


COMMANDS = (
    "arms",
    "check",
    "compare",
    "curate",
    "dag",
    "evaluate",
    "gate",
    "init",
    "stats",
    "diff",
    "export",
    "import",
    "pull",
    "push",
    "report",
    "run",
    "scorers",
    "show",
    "sweep",
)


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_help_is_short_to_ask_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`-h` is `--help`, of every command; nothing in it is cut off."""
    helps = []
    for option in ("-h", "--help"):
        with pytest.raises(SystemExit) as leaving:
            app([*words, option], prog_name="csrdata")
        assert leaving.value.code == 0
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1]
    assert "..." not in helps[0].partition("\n")[2]
    assert helps[0].startswith("Usage: csrdata")


def _examples(command: Any) -> list[str]:
    return [
        line.strip() for line in (command.epilog or "").splitlines() if line.strip().startswith("csrdata ")
    ]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_examples_of_the_help_parse(name: str) -> None:
    """Each command's help has examples, and the command's parser accepts each of them."""
    group: Any = typer.main.get_command(app)
    found = _examples(group.commands[name] if name else group)
    assert found
    assert set(group.commands) == set(COMMANDS)
    for line in found:
        _, called, *words = shlex.split(line)
        assert called == name or not name
        group.commands[called].make_context(called, list(words))


def test_python_dash_m_is_the_command() -> None:
    """`python -m csrdata` says what `csrdata` says, under the same name."""
    called = [
        subprocess.run(words, capture_output=True, text=True, check=True).stdout
        for words in (
            [sys.executable, "-m", "csrdata", "stats", "-h"],
            [str(Path(sys.executable).with_name("csrdata")), "stats", "-h"],
        )
    ]
    assert called[0] == called[1] != ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    """Shell completion: the script that a shell loads, and the words that it gets."""
    asking = {"_CSRDATA_COMPLETE": f"source_{shell}"}
    answering = {
        "_CSRDATA_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "csrdata st",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "csrdata st",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    script, words = (
        subprocess.run(
            [sys.executable, "-m", "csrdata"],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for env in (asking, answering)
    )
    assert "_CSRDATA_COMPLETE" in script
    assert "stats" in words
    assert "show" not in words


@pytest.mark.parametrize("words", [["run"], ["run", "--list"]], ids=" ".join)
def test_run_lists_the_stages(words: list[str], tmp_path: Path) -> None:
    """`csrdata run --list` prints one line per stage, in the order of the DAG, in any folder."""
    done = _csrdata(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(STAGES) == list(ABOUT)


def test_an_iteration_without_a_stage_is_one_line(tmp_path: Path) -> None:
    """An option that would do nothing is refused."""
    done = _csrdata(tmp_path, "run", "--iteration", "1")
    assert done.stderr == "--iteration: got 1, expected a STAGE before it. Next: csrdata run --list\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stast"], "csrdata: No such command 'stast'."),
        (["stats", "--iter", "1"], "csrdata stats: No such option: --iter"),
        (["show"], "csrdata show: Missing argument 'PROMPT_ID'. Next: csrdata show --help"),
        (["diff", "1"], "csrdata diff: Missing argument 'B'. Next: csrdata diff --help"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(tmp_path: Path, words: list[str], message: str) -> None:
    """A wrong use is one line that names the help, without the whole usage."""
    done = _csrdata(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_stats_prints_json_alone_on_stdout(project: Path) -> None:
    """Data goes to stdout and parses; which iteration was taken is said on stderr."""
    done = _csrdata(project, "stats", "--json")
    assert json.loads(done.stdout)["pairs"]["kept"] == 1
    assert json.loads(done.stdout)["search"] is None  # no run log: nothing was searched here
    assert done.stderr == "iteration 1\n"


def test_show_prints_the_tree(project: Path) -> None:
    """`csrdata show` prints the tree of the requested prompt."""
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
    """An error has no traceback, nothing on stdout, and ends with the next command."""
    done = _csrdata(project, *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_version_is_the_packages(project: Path) -> None:
    """`--version` prints what is installed."""
    import csrdata

    assert _csrdata(project, "--version").stdout.strip() == csrdata.__version__
