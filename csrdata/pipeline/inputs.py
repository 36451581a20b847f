"""Inputs are checked before an output is touched: an error names the input and the command that makes it."""

from collections.abc import Iterable
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.storage.disk import check_sums

SEED = "dvc repro prepare"


def need(path: Path, *, made_by: str) -> Path:
    """Return a file, or a folder that holds something.

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
    """Return a policy's folder; it and the base's are unchanged since csrdata wrote them. See `need` and `check_sums`."""
    if name != paths.BASE:
        need_policy(paths.BASE)
    return _model(paths.policy(name), made_by=SEED if name == paths.BASE else f"dvc repro train_dpo@{name}")


def need_scorer(folder: Path) -> Path:
    """Return a scorer's folder, unchanged since csrdata wrote it; see `need` and `check_sums`."""
    return _model(folder, made_by=SEED)


def need_images(images: Iterable[str]) -> list[Path]:
    """Return the image files of prompts or questions, each once, in order; see `need`."""
    return [need(Path(image), made_by=SEED) for image in dict.fromkeys(images)]


def _model(folder: Path, *, made_by: str) -> Path:
    check_sums(need(folder, made_by=made_by), made_by=made_by)
    return folder
