"""Wiring of `csrdata import`: files of preference pairs in, a folder for `select_pairs` out.

It is not a stage of the DAG.
"""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline.looking import images_root
from csrdata.records import OWN_ORIGINS
from csrdata.sources.imported.folder import Imported, bring
from csrdata.sources.imported.formats import FORMATS, Columns, by_columns

COLUMNS = "columns"
"""The layout of any other table: its columns are named by options."""

HELP = "csrdata import --help"


def import_pairs(
    files: Sequence[Path],
    *,
    layout: str,
    name: str,
    columns: Columns,
    images: Path | None = None,
    folder: Path | None = None,
) -> tuple[Path, Imported]:
    """Import files of pairs; return the folder and what is in it.

    Args:
        files: one or more.
        layout: a key of `FORMATS`, or `COLUMNS`.
        name: of the dataset; it becomes the pairs' `origin`.
        columns: the columns of a table of any other layout.
        images: the folder that image paths of rows are relative to; by default the images root of params.yaml.
        folder: the target; by default `data/import/NAME`.

    Raises:
        UserError: an option is invalid, a file cannot be read, or no row has a pair.
    """
    if layout != COLUMNS and layout not in FORMATS:
        raise UserError("--from", got=layout, expected=f"{COLUMNS}, {', '.join(FORMATS)}", do=HELP)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or name in OWN_ORIGINS:
        expected = f"a-z, 0-9 and _, a letter first, at most 64, and none of {', '.join(OWN_ORIGINS)}"
        raise UserError("--name", got=name, expected=expected, do=HELP)
    changed = [field.name for field in fields(columns) if getattr(columns, field.name) != field.default]
    if layout != COLUMNS and changed:
        option = f"--{changed[0]}-column"
        raise UserError(
            option, got=getattr(columns, changed[0]), expected=f"--from {COLUMNS} with it", do=HELP
        )
    form = by_columns(columns) if layout == COLUMNS else FORMATS[layout]
    target = folder or paths.imported(name)
    root = images_root() if images is None else images
    if not root.is_dir():
        raise UserError("--images", got=str(root), expected="a folder", do=HELP)
    return target, bring(files, to=target, name=name, layout=layout, form=form, images=root)
