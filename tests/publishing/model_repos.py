"""Models in a Hub of this machine, and a client whose cache is the test's."""

from pathlib import Path

import pytest

from tests.publishing.hub_server import online
from tests.publishing.hub_state import Hub


def upload(hub: Hub, repo_id: str, folder: Path, *, tag: str | None = None) -> str:
    """Make a folder's files a commit of a model repository, tagged or not, and return the commit."""
    if ("model", repo_id) not in hub.repos:
        hub.create(repo_id, "model")
    repo = hub.repo(repo_id, "model")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    commit = hub.commit(repo, "a model", {name: hub.store(path.read_bytes()) for name, path in files.items()})
    if tag is not None:
        repo.tags[tag] = commit.oid
    return commit.oid


def use_hub(monkeypatch: pytest.MonkeyPatch, hub: Hub, home: Path) -> None:
    """Let this process's client reach the Hub and keep its cache in `home`."""
    from huggingface_hub import constants

    online(monkeypatch, home)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what HF_HUB_OFFLINE=1 sets."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
