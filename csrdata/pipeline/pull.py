"""Wiring of `csrdata pull`: a data set of the Hub in, a project's tables, images and parameters out. No stage."""

import shutil
from pathlib import Path

from csrdata.errors import UserError
from csrdata.params import FILE
from csrdata.pipeline.publish import tables
from csrdata.pipeline.results import PUBLISHED
from csrdata.publishing.disk import room
from csrdata.publishing.fetch import Source, fetch
from csrdata.publishing.layout import PARAMS
from csrdata.publishing.restore import released, restore
from csrdata.publishing.results import RESULTS
from csrdata.tables import hash_path

SCRATCH = ".csrdata-pull"
"""Where a pull puts what it has brought so far, inside its target: on the same disk, and found by the next try."""


def pull(source: Source, target: Path) -> list[str]:
    """Bring a data set of the Hub into a project as its tables, images and parameters; return the iterations.

    What lies there is never overwritten: a file of other bytes is refused before anything is written, one of the same
    bytes stays, and the project's own params.yaml stays.

    Raises:
        UserError: the data set could not be fetched, or the target holds other tables in its place.
    """
    scratch = target / SCRATCH
    release, made = scratch / "release", scratch / "project"
    if not release.is_dir() or _source_of(scratch) != str(source):
        shutil.rmtree(release, ignore_errors=True)
        fetch(source.repo_id, source.revision, release)
        (scratch / "source").write_text(str(source), encoding="utf-8")
    shutil.rmtree(made, ignore_errors=True)
    names = released(release)
    again = f"make room, then the same command again (what was brought is kept in {scratch})"
    with room(target, expected="room for the whole data set", do=again):
        restore(release, [tables(name, root=made) for name in names], images_root=made)
        if not (target / FILE).is_file():
            shutil.copyfile(release / PARAMS, made / FILE)
        if (release / RESULTS).is_file():
            (made / PUBLISHED).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(release / RESULTS, made / PUBLISHED)
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    for file in files:
        if (target / file).exists() and hash_path(target / file) != hash_path(made / file):
            raise UserError(
                str(target / file),
                got="a file with other bytes",
                expected=f"room for {source}",
                do=f"csrdata pull {source.repo_id}@{source.revision} ANOTHER_DIR",
            )
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (made / file).replace(target / file)
    shutil.rmtree(scratch)
    return names


def _source_of(scratch: Path) -> str | None:
    path = scratch / "source"
    return path.read_text(encoding="utf-8") if path.is_file() else None
