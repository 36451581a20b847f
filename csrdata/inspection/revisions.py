"""Tables as they were at a git revision, read through DVC's API: from its cache, or else from its remote.

The working tree is neither read nor changed. The caller decides which paths to read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrdata.errors import UserError


def bring(
    revision: str,
    files: Mapping[Path, Path],
    *,
    optional: Mapping[Path, Path] | None = None,
    repository: Path = Path(),
) -> None:
    """Copy files that DVC tracked at a revision to other paths.

    Args:
        revision: any name that git resolves: a tag, a branch, `HEAD~1`, a commit.
        files: path in the project -> path to write; missing folders are created.
        optional: the same for files that the revision may lack; such a file is not written.
        repository: the project's root.

    Raises:
        UserError: DVC is not installed, the project is not a git and DVC repository, the revision is unknown, or a
            file is not tracked there or is in neither the cache nor the remote.
    """
    try:
        from dvc.api import DVCFileSystem  # type: ignore[import-untyped]
        from dvc.exceptions import DvcException  # type: ignore[import-untyped]
        from dvc_data.index.index import DataIndexDirError
    except ModuleNotFoundError as error:
        raise UserError(
            f"revision {revision}", got=str(error), expected="DVC", do="pip install 'csrdata[pipeline]'"
        ) from None
    try:
        tree = DVCFileSystem(str(repository), rev=revision)
        there = {
            source: target for source, target in (optional or {}).items() if tree.isfile(source.as_posix())
        }
        for source, target in {**files, **there}.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(tree, source.as_posix(), target, revision=revision, not_cached=DataIndexDirError)
    except DvcException as error:
        raise UserError(
            f"revision {revision}",
            got=str(error),
            expected="a git revision of this project",
            do="in a git clone of the project: git log --oneline",
        ) from None


def _copy(tree: Any, source: str, target: Path, *, revision: str, not_cached: type[Exception]) -> None:
    """Copy one file; tell a path that is not tracked from content that is in neither the cache nor the remote."""
    place = f"revision {revision}: {source}"
    nowhere = UserError(
        place,
        got="only its hash",
        expected="the file in DVC's cache or remote",
        do=f"git checkout {revision}, then: dvc pull, or else: dvc repro",
    )
    try:
        tree.info(source)
    except FileNotFoundError:
        raise UserError(
            place,
            got="no such file",
            expected="an output of the pipeline at that revision",
            do=f"git show {revision}:params.yaml (it lists the iterations of that revision)",
        ) from None
    except not_cached:
        raise nowhere from None
    try:
        tree.get_file(source, str(target))
    except FileNotFoundError:
        raise nowhere from None
