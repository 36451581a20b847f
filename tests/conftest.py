"""What tests of several folders share: a small finished project, made once a session by whichever test asks first.

Also the order of the files: the longest come first, so that two processes end at about the same time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FIRST = (
    "test_real_models.py",
    "test_smoke.py",
    "pipeline/test_launching.py",
    "engines/test_ray.py",
    "ablation/test_running.py",
    "policy/test_resuming.py",
)
"""They take longest, the longest first; any other file takes less than half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `FIRST` first; all others stay in the order in which they were collected."""
    first = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Undo what a stage inside a test's process did to torch's threads: later tests would compute with two, and other bytes."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


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
