"""What tests of several folders share: a small finished project, made once a session by whichever test asks first.

Also the order of the files: the longest come first, so that two processes end at about the same time.
"""

from pathlib import Path

import pytest

FIRST = (
    "policy/test_pair_trainer.py",
    "test_real_models.py",
    "test_smoke.py",
    "pipeline/test_launching.py",
    "engines/test_ray.py",
    "ablation/test_running.py",
    "policy/test_resuming.py",
)
"""The first file compares adapters byte for byte in one process: after some hundred other tests in the same process, all of its
comparisons failed twice (the cause is not known; alone they hold). The others take longest, the longest first; any other file
takes less than half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `FIRST` first; all others stay in the order in which they were collected."""
    first = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


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
