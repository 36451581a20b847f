"""The real command line in a separate process: what reaches the terminal is safe, whatever tables and arguments hold."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from csrdata import paths
from csrdata.cli import main
from csrdata.params import load_params
from csrdata.records import Dropped, Pair, Prompt, Response, Sentence
from csrdata.storage.tables import seal, write_rows
from tests.imports import ROOT
from tests.inspection.made import DROPPED, PAIR, PROMPTS, RESPONSES, SENTENCES
from tests.nasty import NASTY, SURROGATE, unsafe
from tests.pipeline.world import ANSWERS

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
ALL = "".join(NASTY.values())


def _csrdata(
    folder: Path, *words: str | bytes, env: dict[str, str] | None = None, stdout: int | None = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "csrdata", *words],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


def _write(folder: Path, text: str) -> Path:
    """Write a project in which every free text is the given one."""
    raw = load_params(ROOT / "params.yaml").model_dump() | {"select_pairs": ANSWERS}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    # A path with a control character, or a text with NUL or a lone surrogate, is refused when the table is read.
    path = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", text)
    text = text.replace("\x00", "")
    prompts = [dataclasses.replace(one, image=path, text=text) for one in PROMPTS]
    sentences = [dataclasses.replace(one, text=one.text and f"A{text}.") for one in SENTENCES]
    responses = [dataclasses.replace(one, text=f"A{text}.") for one in RESPONSES]
    pair = dataclasses.replace(PAIR, image=path, prompt=text, chosen=f"A{text}.", rejected=f"B{text}.")
    write_rows(folder / paths.PROMPTS, prompts, Prompt)
    for name, kept in (("1", pair), ("2", dataclasses.replace(pair, chosen="C."))):
        write_rows(folder / paths.candidates(name) / "00000.parquet", sentences, Sentence)
        write_rows(folder / paths.responses(name) / "00000.parquet", responses, Response)
        seal(folder / paths.candidates(name), Sentence, fingerprint={})
        seal(folder / paths.responses(name), Response, fingerprint={})
        write_rows(folder / paths.pairs(name), [kept], Pair)
        write_rows(folder / paths.dropped(name), [dataclasses.replace(DROPPED, detail=text)], Dropped)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("hostile"), ALL)


@pytest.mark.parametrize("env", [{}, ASCII], ids=["utf-8", "ascii"])
@pytest.mark.parametrize(
    "words",
    [
        ["show", "train-00000"],
        ["show", "train-00000", "--json"],
        ["stats"],
        ["stats", "--json"],
        ["diff", "1", "2"],
        ["diff", "1", "2", "--json"],
    ],
    ids=" ".join,
)
def test_tables_write_no_control_character(hostile: Path, words: list[str], env: dict[str, str]) -> None:
    """Hostile text is escaped or removed; a terminal without Unicode gets ASCII and no error."""
    done = _csrdata(hostile, *words, env=env)
    assert done.returncode == 0, done.stderr.decode()
    said = (done.stdout + done.stderr).decode("ascii" if env else "utf-8")
    assert unsafe(said) == set()
    if words[0] == "show":
        assert "[red]red[/red]" in said
        assert ":warning:" in said


QUOTING = [
    ["show", "X"],
    ["stats", "X"],
    ["stats", "--iteration", "X"],
    ["diff", "X", "1"],
    ["run", "X"],
    ["run", "select_pairs", "--iteration", "X"],
    ["export", "--to", "X", "out"],
    ["X"],
    ["--X"],
]


def _is_one_safe_line(said: str) -> bool:
    return unsafe(said) == set() and said.count("\n") == 1 and len(said) < 1500 and "Next: " in said


@pytest.fixture
def said(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command that must fail in this process, with nothing on stdout, and return stderr."""
    monkeypatch.chdir(hostile)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["csrdata", *words])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code in {1, 2}
        out, err = capsys.readouterr()
        assert out == ""
        return str(err)

    return run


@pytest.mark.parametrize("words", QUOTING, ids=" ".join)
def test_an_error_quotes_safely(said: Callable[..., str], words: list[str]) -> None:
    """One line, exit code 1 or 2, whatever the argument is."""
    for text in [*NASTY.values(), SURROGATE, "x" * 5000, "/".join("x" * 200 for _ in range(25))]:
        line = said(*(word.replace("X", text) for word in words))
        assert _is_one_safe_line(line), ascii(text)


@pytest.mark.parametrize("words", [["show", "X"], ["X"], ["run", "X"]], ids=" ".join)
def test_a_process_quotes_safely(hostile: Path, words: list[str]) -> None:
    """The same in a separate process: all strings at once, and bytes that are not text."""
    for text in (ALL.replace("\0", "").encode(), b"\xff"):
        done = _csrdata(hostile, *(text if word == "X" else word for word in words))
        assert (done.returncode in {1, 2}, done.stdout) == (True, b"")
        assert _is_one_safe_line(done.stderr.decode())


@pytest.mark.parametrize(
    "words",
    [
        ["export", "--to", "trl", "X"],
        ["stats", "hf://datasets/X@v1"],
        ["diff", "X:1", "1"],
        ["pull", "me/set@v1", "X"],
        ["pull", "X"],
    ],
    ids=" ".join,
)
def test_an_endless_path_is_one_line(said: Callable[..., str], words: list[str]) -> None:
    """An argument of 5,000 characters gives one short line."""
    assert _is_one_safe_line(said(*(word.replace("X", "x" * 5000) for word in words)))


@pytest.mark.parametrize("words", [["stats"], ["show", "train-00000"], ["diff", "1", "2"]], ids=" ".join)
def test_nothing_is_said_before_an_error(tmp_path: Path, words: list[str]) -> None:
    """In an empty folder, and in one without tables, nothing but the error is printed."""
    empty = _csrdata(tmp_path, *words).stderr.decode()
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    bare = _csrdata(tmp_path, *words).stderr.decode()
    assert empty.startswith("params.yaml: got no such file")
    assert bare.startswith("data/")
    assert empty.count("\n") == bare.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("words", [["stats"], ["run"], ["--help"]], ids=" ".join)
def test_a_full_disk_under_stdout_is_one_line(hostile: Path, words: list[str]) -> None:
    """If output cannot be written, the exit code is 1, also if the error appears only at the end."""
    with Path("/dev/full").open("wb") as full:
        done = _csrdata(hostile, *words, stdout=full.fileno())
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("output: got No space left on device, expected room on the disk. Next: ")
    assert b"Traceback" not in done.stderr


def test_a_reader_that_leaves_ends_it_quietly(hostile: Path) -> None:
    """A closed pipe (`| head -1`) gives no message, and the exit code that shells use for it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = _csrdata(hostile, "stats", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"iteration 2\n")


STOPPED = """
import os, signal, sys, time
import csrdata.inspection.stats as stats
def wait(*_, **__):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
stats.stats = wait
from csrdata.cli import main
sys.argv = ["csrdata", "stats"]
main()
"""


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_is_one_line(hostile: Path, number: int, code: int, word: str) -> None:
    """Ctrl-C and SIGTERM, in the middle of a command: no traceback, and the exit code that shells expect."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], cwd=hostile, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (code, f"csrdata stats: {word}\n".encode())


MISSING = """
import sys
sys.modules[{module!r}] = None
sys.argv = ["csrdata", *{words!r}]
from csrdata.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (
            "torch",
            ["run", "prepare"],
            "Python module torch: got no such module, expected the extra policy. Next: pip install 'csrdata[policy]'",
        ),
        ("dvc", ["diff", "HEAD:1", "1"], "pip install 'csrdata[pipeline]'"),
        ("huggingface_hub", ["stats", "hf://datasets/me/set@v1"], "pip install 'csrdata[hub]'"),
    ],
)
def test_a_missing_extra_is_one_line(hostile: Path, module: str, words: list[str], message: str) -> None:
    """A missing library gives the command to install it; a missing module of csrdata keeps its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", MISSING.format(module=module, words=words)],
        cwd=hostile,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fault_of_ours_keeps_its_traceback(hostile: Path) -> None:
    """A missing module of csrdata is a broken installation; the traceback is printable too."""
    program = MISSING.format(module="csrdata.inspection.stats", words=["stats"])
    broken = program.replace("= None", "= None; sys.stderr.write('')", 1)
    done = subprocess.run(
        [sys.executable, "-c", broken], cwd=hostile, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "ModuleNotFoundError" in done.stderr


def test_show_json_is_one_tree(hostile: Path) -> None:
    """Every candidate under its parent, in keys that are words joined by underscores."""
    tree = json.loads(_csrdata(hostile, "show", "train-00000", "--json").stdout)
    assert [one["node_id"] for one in tree["candidates"]] == [0, 1, 2]
    assert tree["candidates"][0]["children"][0]["answer"]["reward"] == 0.9
    assert tree["candidates"][0]["relevance"] == 20.0
    assert tree["prompt"] == ALL.replace("\x00", "")
    assert tree["pairs"][0]["chosen_leaf"] == 3
    assert tree["dropped"] is None


@pytest.mark.parametrize("words", [["stats"], ["diff", "1", "2"], ["show", "train-00000"]], ids=" ".join)
def test_json_keys_are_snake_case(hostile: Path, words: list[str]) -> None:
    """JSON keys are lower-case identifiers, not the titles of the report."""

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()

    found = keys(json.loads(_csrdata(hostile, *words, "--json").stdout))
    assert [key for key in found if not key.isidentifier() or key != key.lower()] == []


@pytest.mark.parametrize("way", ["command", "script"])
def test_a_stage_says_what_it_wrote(hostile: Path, tmp_path: Path, way: str) -> None:
    """Stage, iteration, files, rows and seconds, on stderr: by the command and by the script alike."""
    folder = _write(tmp_path, "x")
    start = ["-m", "csrdata", "run", "select_pairs", "--iteration", "1"]
    script = [str(ROOT / "stages/select_pairs.py"), "1"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *(start if way == "command" else script)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert done.stderr.startswith(
        "select_pairs@1: wrote 3 files, 2 rows (data/select_pairs/1: 2 files, 2 rows; metrics/select_pairs: 1 file) in "
    )
    assert 0 <= float(done.stderr.split()[-2]) < time.monotonic() - started
