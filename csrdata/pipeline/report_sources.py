"""Which pairs `csrdata report` shows: of this project, a git revision of it, a release, or another project."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.inspection.revisions import bring
from csrdata.params import FILE, load_params
from csrdata.pipeline.looking import iteration
from csrdata.pipeline.report import project_content
from csrdata.publishing.hub.fetch import parse_source
from csrdata.publishing.hub.remote import fetch_iteration
from csrdata.publishing.release.provenance import commit
from csrdata.report.series import Series
from csrdata.report.writing import Content
from csrdata.storage.iteration_tables import IterationTables

EXPECTED = "T (an iteration), REV:T, hf://datasets/OWNER/NAME@TAG[:T], or the folder of a project"


def report_content(source: str | None, against: list[str], *, scratch: Path) -> Content:
    """Return what a report shows.

    Args:
        source: as in `EXPECTED`; None is the project in the current folder.
        against: further sources, to compare with.
        scratch: an empty folder for tables that have to be fetched. It must be there until the report is written.

    Raises:
        UserError: a source does not exist or is malformed, or one of its tables is damaged.
    """
    first = _content(source, scratch / "0")
    series = list(first.series)
    for number, word in enumerate(against, start=1):
        more = _content(word, scratch / str(number))
        taken = {one.label for one in series}
        series += [
            replace(one, label=f"{word}, {one.label}" if one.label in taken else one.label)
            for one in more.series
        ]
        if first.images is None:
            first = replace(first, images=more.images)
    shown = ", ".join([source or "this project", *against])
    return replace(first, series=series, source=shown, revision=commit(Path()) if source is None else None)


def _content(word: str | None, scratch: Path) -> Content:
    if word is None:
        return project_content(load_params())
    if word.startswith("hf://"):
        return _bare([_of_release(word, scratch)])
    if word and Path(word).is_dir():
        return _of_folder(Path(word))
    revision, colon, name = word.rpartition(":")
    if revision:
        return _bare([_of_revision(revision, name, scratch)])
    params = load_params()
    if colon or name not in params.iterations:
        raise UserError("SOURCE", got=word, expected=EXPECTED, do="csrdata report --help")
    return project_content(params, names=[iteration(name)])


def _of_folder(folder: Path) -> Content:
    """Return the content of the project in another folder."""
    root = folder.resolve()
    if not (root / FILE).is_file():
        raise UserError(
            str(folder), got=f"no {FILE}", expected="the folder of a project", do="csrdata report --help"
        )
    with _inside(root):
        return project_content(load_params(), root=root, label=f"{folder.name}, iteration {{}}")


def _of_release(word: str, scratch: Path) -> Series:
    """Return an iteration of a published dataset. Its images are not fetched."""
    tagged, _, name = word.partition("@")[2].partition(":")
    source = parse_source(f"{word.partition('@')[0]}@{tagged}")
    scratch.mkdir()
    tables = fetch_iteration(source, name or None, scratch=scratch)
    return Series(f"{source}, iteration {tables.name}", str(source), tables)


def _of_revision(revision: str, name: str, scratch: Path) -> Series:
    """Return an iteration's pairs as they were at a git revision."""
    pairs, dropped = scratch / "pairs.parquet", scratch / "dropped.parquet"
    bring(revision, {paths.pairs(name): pairs, paths.dropped(name): dropped})
    none = scratch / "none"
    tables = IterationTables(
        name, prompts=none, candidates=none, responses=none, pairs=pairs, dropped=dropped
    )
    return Series(f"{revision}, iteration {name}", revision, tables)


def _bare(series: list[Series]) -> Content:
    """Return the content of pairs alone; images are taken from the project in the current folder, if there is one."""
    images = None
    if FILE.is_file():
        images = project_content(load_params(), names=[]).images
    from importlib.metadata import version

    return Content(
        series=series,
        images=images,
        drift=None,
        figures=[],
        parameters="",
        hashes={},
        version=version("csrdata"),
    )


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
