"""`csrdata init`: a new project, ready for `dvc repro`, from a profile that ships with csrdata."""

import difflib
import os
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from csrdata.errors import UserError
from csrdata.params import FILE, load_params
from csrdata.pipeline.dag import project_files
from csrdata.storage.disk import atomic_folder

DEFAULT = "microworld"
"""The profile that downloads nothing."""

CONFIG = """\
[core]
    analytics = false
    check_update = false
    autostage = false
"""
WITHOUT_GIT = "[core]\n    no_scm = true\n"
"""What DVC needs in .dvc/config.local where there is no git repository."""


def profiles() -> dict[str, str]:
    """Return the profiles by name, each with its first line: what it is for."""
    found = {}
    for entry in files("csrdata").joinpath("profiles").iterdir():
        path = PurePosixPath(entry.name)
        if path.suffix == ".yaml":
            first = entry.read_text(encoding="utf-8").partition("\n")[0]
            found[path.stem] = first.removeprefix("#").strip()
    return dict(sorted(found.items()))


def profile_path(name: str) -> Path:
    """Return the file of a profile: a complete params.yaml.

    Args:
        name: of a profile that ships with csrdata, or the path of a params file, which ends with `.yaml`.

    Raises:
        UserError: no profile has that name.
    """
    if name.endswith(".yaml"):
        return Path(name)
    known = profiles()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        raise UserError(
            "--profile",
            got=name,
            expected=near[0] if near else f"one of {', '.join(known)}",
            do="csrdata init --list",
        )
    return Path(str(files("csrdata"))) / "profiles" / f"{name}.yaml"


def profile_text(name: str) -> str:
    """Return the text of a profile; see `profile_path`.

    Raises:
        UserError: no profile has that name, or the file is missing or not valid.
    """
    path = profile_path(name)
    load_params(path)
    return path.read_text(encoding="utf-8")


def create(
    folder: Path, *, profile: str = DEFAULT, text: str | None = None, cache: Path | None = None
) -> bool:
    """Create a project in a new or empty folder; return whether it is inside a git repository.

    The folder appears complete or not at all. Outside a git repository, DVC is configured to work without one.

    Args:
        folder: the project's.
        profile: the profile whose parameters it gets.
        text: its params.yaml, if it is not a profile's.
        cache: a DVC cache that several projects share; git then ignores them all. None: the project's own.

    Raises:
        UserError: no such profile, or the folder holds something.
    """
    text = profile_text(profile) if text is None else text
    absolute = folder.absolute()
    in_git = cache is None and any((parent / ".git").exists() for parent in absolute.parents)
    with atomic_folder(absolute) as partial:
        (partial / FILE).write_text(text, encoding="utf-8")
        params = load_params(partial / FILE)
        for path, written in project_files(params).items():
            (partial / path).write_text(written, encoding="utf-8")
        for name, entry in _templates():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(entry.read_text(encoding="utf-8"), encoding="utf-8")
        (partial / ".dvc/config").write_text(CONFIG, encoding="utf-8")
        (partial / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n", encoding="utf-8")
        local = "" if in_git else WITHOUT_GIT
        if cache is not None:
            local += f"[cache]\n    dir = {os.path.relpath(cache.absolute(), absolute / '.dvc')}\n"
        if local:
            (partial / ".dvc/config.local").write_text(local, encoding="utf-8")
    return in_git


def _templates() -> Iterator[tuple[str, Traversable]]:
    """Yield the files of every project: their place in it, and the template."""
    folder = files("csrdata.pipeline").joinpath("templates")
    yield "README.md", folder.joinpath("README.md")
    yield ".gitignore", folder.joinpath("gitignore")
    yield ".dvcignore", folder.joinpath("dvcignore")
    for entry in folder.joinpath("plots").iterdir():
        if entry.name.endswith(".json"):
            yield f".dvc/plots/{entry.name}", entry
