"""What tests of several folders share: a small finished project, made once a session by whichever test asks first."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of `tests/faults/project.py`; nobody changes it."""
    from tests.faults.project import finished

    return finished(tmp_path_factory.mktemp("finished") / "whole")


@pytest.fixture(scope="session")
def whole(finished_project: Path) -> dict[str, str]:
    """The hash of every file of the finished project."""
    from tests.faults.project import snapshot

    return snapshot(finished_project)
