"""The finished project, made once, and the sweep's count at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.killing import Killer
from tests.faults.project import copy, finished, snapshot


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("faults") / "whole")


@pytest.fixture(scope="session")
def whole(finished_project: Path) -> dict[str, str]:
    """The hash of every file of the finished project."""
    return snapshot(finished_project)


@pytest.fixture
def project(finished_project: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, for one case."""
    return copy(finished_project, tmp_path / "project")


@pytest.fixture(scope="session")
def killer() -> Iterator[Killer]:
    with Killer() as one:
        yield one


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases of the sweep ran, and how many of them ended as they must."""
    ran = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and "tests/faults/" in report.nodeid
    ]
    if ran:
        held = sum(report.passed for report in ran)
        terminalreporter.write_line(
            f"fault sweep: {held} of {len(ran)} cases ended in the same bytes or one line"
        )
