"""Inputs are checked before an output is touched: an error names the input and the command that makes it."""

from collections.abc import Iterable
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError


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
    """Return a policy's folder; see `need`."""
    made_by = "dvc repro build_seed" if name == paths.BASE else f"dvc repro train_dpo@{name}"
    return need(paths.policy(name), made_by=made_by)


def need_scorer(folder: Path) -> Path:
    """Return a scorer's folder; see `need`."""
    return need(folder, made_by="dvc repro build_seed")


def need_images(images: Iterable[str]) -> list[Path]:
    """Return the image files of prompts or questions, each once, in order; see `need`."""
    return [need(Path(image), made_by="dvc repro build_seed") for image in dict.fromkeys(images)]
