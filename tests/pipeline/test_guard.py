"""One run of a stage and iteration at a time, and what the disk refuses in one line."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from csrdata.errors import UserError
from csrdata.pipeline.guard import guarded
from tests.imports import ROOT

HOLD = """
    import sys, time
    from csrdata.pipeline.guard import guarded
    with guarded("generate_beams", "1"):
        print("held", flush=True)
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_second_run_is_refused_in_words_until_the_first_is_gone() -> None:
    """It says which stage, since when, which process and what to do; other iterations run; a kill frees the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(UserError) as caught, guarded("generate_beams", "1"):
            pytest.fail("two run")
        with guarded("generate_beams", "2"), guarded("score_beams", "1"), guarded("summarize", None):
            pass
        first.send_signal(signal.SIGKILL)
    place, rest = str(caught.value).split(": got a run since ")
    assert place == "generate_beams@1"
    assert rest[19:] == (
        f" UTC (process {first.pid}), expected one run at a time. Next: wait for it, or end it (kill {first.pid}), "
        "then: csrdata run generate_beams --iteration 1"
    )
    with guarded("generate_beams", "1"):
        pass


def test_a_lock_that_says_nothing_still_holds() -> None:
    """Its holder may be writing it just now."""
    with guarded("summarize", None):
        Path("logs/locks/summarize.json").write_text("")
        with (
            pytest.raises(UserError, match=r"^summarize: got a run since just now \(process unknown\)"),
            guarded("summarize", None),
        ):
            pytest.fail("two run")


def test_a_refusal_without_a_file_names_the_stage() -> None:
    """The line ends with the command that goes on."""
    with (
        pytest.raises(
            UserError,
            match=r"^train_dpo: got No space left on device.*then: csrdata run train_dpo --iteration 2 \(",
        ),
        guarded("train_dpo", "2"),
    ):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
