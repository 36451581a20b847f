"""A copy of the finished project for each case, and the sweep's count at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.killing import Killer
from tests.faults.project import copy


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
