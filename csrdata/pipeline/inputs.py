"""Checks of inputs before a stage touches an output: an error names the input and the command that makes it."""

from collections.abc import Iterable
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.storage.disk import check_sums

PREPARE = "dvc repro prepare"


def need(path: Path, *, made_by: str) -> Path:
    """Return the path of a file or of a folder that is not empty.

    Raises:
        UserError: it is missing, or an empty folder.
    """
    if path.is_dir() and any(path.iterdir()):
        return path
    if not path.is_file():
        got = "an empty folder" if path.is_dir() else "no such file or folder"
        raise UserError(str(path), got=got, expected="an input of this stage", do=made_by)
    return path


def need_policy(name: str) -> Path:
    """Return the folder of a policy.

    Raises:
        UserError: its folder or the base's is missing, or was changed after csrdata wrote it; see `need` and
            `check_sums`.
    """
    if name != paths.BASE:
        need_policy(paths.BASE)
    return _model(
        paths.policy(name), made_by=PREPARE if name == paths.BASE else f"dvc repro train_dpo@{name}"
    )


def need_scorer(folder: Path) -> Path:
    """Return the folder of a scorer.

    Raises:
        UserError: it is missing, or was changed after csrdata wrote it; see `need` and `check_sums`.
    """
    return _model(folder, made_by=PREPARE)


def need_images(images: Iterable[str]) -> list[Path]:
    """Return the image files of prompts or questions, each once, in order of first use; see `need`."""
    return [need(Path(image), made_by=PREPARE) for image in dict.fromkeys(images)]


def _model(folder: Path, *, made_by: str) -> Path:
    check_sums(need(folder, made_by=made_by), made_by=made_by)
    return folder
