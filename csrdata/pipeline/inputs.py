"""Checks of inputs before a stage touches an output: an error names the input and the command that makes it."""

from collections.abc import Iterable
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.images import SAMPLE_AGAIN, ImageRoot
from csrdata.params import FILE, Params
from csrdata.pipeline.source import exclude_file
from csrdata.records import ImageFile, LeftOut
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.exclusion import Exclusion, read_exclusion
from csrdata.storage.disk import check_sums
from csrdata.storage.tables import read_rows

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


def need_scorer(folder: Path | None) -> Path | None:
    """Return the folder of a scorer; None for a scorer without one.

    Raises:
        UserError: it is missing, or was changed after csrdata wrote it; see `need` and `check_sums`.
    """
    return None if folder is None else _model(folder, made_by=PREPARE)


def images_folder(params: Params) -> Path:
    """Return the folder that all image paths are relative to.

    Raises:
        UserError: there is no such folder, or the microworld's images are not inside it.
    """
    root, place = Path(params.images.root), f"{FILE}: images.root"
    do = f"fix {FILE}, then: dvc repro"
    if not root.is_dir():
        raise UserError(place, got=params.images.root, expected="a folder", do=do)
    if isinstance(params.source, MicroworldSource) and root.resolve() != Path.cwd():
        expected = '".": the microworld draws its images inside the project'
        raise UserError(place, got=params.images.root, expected=expected, do=do)
    return root


def need_exclusion(params: Params) -> Exclusion:
    """Return what `source.exclude` names; nothing where there is no such file to read. See `read_exclusion`."""
    path = exclude_file(params.source)
    return Exclusion() if path is None else read_exclusion(path)


def need_images(params: Params, images: Iterable[str], *, listed: Path = paths.IMAGES) -> ImageRoot:
    """Return the images of prompts or questions: each is listed and there. Whether it has changed shows when it is read.

    Args:
        params: say where the images are.
        images: their paths, relative to the images root.
        listed: the table of `ImageFile` rows.

    Raises:
        UserError: an image is not listed, or is not there.
    """
    root = images_folder(params)
    known = {file.image: file for file in read_rows(listed, ImageFile, made_by="dvc repro sample_prompts")}
    used: dict[str, ImageFile] = {}
    for image in dict.fromkeys(images):
        if image not in known:
            got, expected = f"no row for {image}", "one for each image in use"
            raise UserError(str(listed), got=got, expected=expected, do="dvc repro -f sample_prompts")
        need(root / image, made_by=SAMPLE_AGAIN)
        used[image] = known[image]
    return ImageRoot(root, used)


def read_left_out() -> list[LeftOut]:
    """Return the sampled prompts and questions that were left out, each with its reason.

    Raises:
        UserError: the table is missing or damaged.
    """
    return read_rows(paths.LEFT_OUT, LeftOut, made_by="dvc repro sample_prompts")


def _model(folder: Path, *, made_by: str) -> Path:
    check_sums(need(folder, made_by=made_by), made_by=made_by)
    return folder
