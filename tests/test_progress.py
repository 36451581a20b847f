"""Progress in a file: one line per minute."""

import io
import sys
import time

import pytest

from csrdata import progress as module
from csrdata.progress import progress
from tests.nasty import NASTY, unsafe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_fast_loop_has_a_first_and_a_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Work of less than a minute gives whole lines for its start and its end."""
    with progress(total=1000, title="search", unit="prompt") as bar:
        for _ in range(1000):
            bar.set_postfix_str("9 rows/s", refresh=False)
            bar.update()
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "search: 0% (0 of 1000)",
        "search: 100% (1000 of 1000)",
    ]
    assert lines[1].endswith("9 rows/s")
    assert "\r" not in text


def test_a_slow_loop_has_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a line for each minute (here a tenth of a second), not for each step."""
    monkeypatch.setattr(module, "SECONDS", 0.1)
    for _ in progress(range(50), title="train", unit="step"):
        time.sleep(0.01)
    assert 4 <= len(capsys.readouterr().err.splitlines()) <= 9


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, the bar is drawn over itself."""
    page = Terminal()
    monkeypatch.setattr(sys, "stderr", page)
    for _ in progress(range(3), title="train", unit="step"):
        pass
    assert "\rtrain: 100%|" in page.getvalue()


def test_a_title_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign name in a bar's title is escaped."""
    for _ in progress(range(3), title="".join(NASTY.values()), unit="step"):
        pass
    assert unsafe(capsys.readouterr().err) == set()


def test_a_closed_or_full_log_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the progress bar cannot be written, the work continues."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    for stream in (None, Full()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress(range(3), title="train", unit="step")) == [0, 1, 2]
