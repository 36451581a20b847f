"""Wiring of `csrdata pull`: a published dataset in; a project's tables, images and parameters out.

It is not a stage of the DAG. The release may be hostile, and the target may hold files of the user. Everything is
downloaded, checked and written in a scratch folder inside the target; then whole files are moved to their places. A
target that holds a file that no pull wrote is refused. Links inside it are not followed, and nothing outside it is
touched.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from csrdata.errors import UserError
from csrdata.params import FILE
from csrdata.pipeline.pulled import RECORD, Pulled, read_pulled, write_pulled
from csrdata.pipeline.results import PUBLISHED
from csrdata.pipeline.tables import project_tables
from csrdata.publishing.folders import room
from csrdata.publishing.hub.fetch import MAX_SIZE, Refusal, Source, fetch, partial_of
from csrdata.publishing.release.layout import LOCK, PARAMS, RESULTS
from csrdata.publishing.release.manifest import read_manifest, write_manifest
from csrdata.publishing.release.restore import release_texts, restore
from csrdata.publishing.release.results import read_results
from csrdata.storage.tables import PARTIAL, hash_path

SCRATCH = ".csrdata-pull"
"""The folder of an unfinished pull, inside its target: on the same disk, and where the next try finds it."""


def pull(source: Source, target: Path, *, max_size: int = MAX_SIZE) -> list[str]:
    """Download a published dataset into a project as its tables, images and parameters; return the iterations.

    Args:
        source: the dataset and its tag.
        target: a missing or empty folder, or an earlier pull, whose files are replaced if nobody changed them.
        max_size: the largest size of a release that is downloaded, in bytes.

    Raises:
        UserError: the dataset cannot be downloaded, differs from its manifest, or the target holds other files. The
            target is then unchanged. Downloaded files are kept for the next try if it may succeed.
    """
    again = "free some space, then run the same command again (downloaded files are kept)"
    with room(target, expected="room for the whole dataset", do=again):
        missing = not target.exists() and not target.is_symlink()
        before = _check_target(target, source)
        scratch = target / SCRATCH
        try:
            _fetch(source, scratch, max_size=max_size)
            names = _restore(scratch / "release", scratch / "project")
            _replace(scratch / "project", target, before, source)
        except UserError:
            if scratch.is_dir() and not any(scratch.iterdir()):
                scratch.rmdir()
            if missing and target.is_dir() and not any(target.iterdir()):
                target.rmdir()
            raise
        shutil.rmtree(scratch)
    return names


def _fetch(source: Source, scratch: Path, *, max_size: int) -> None:
    """Download the release into `scratch`; files of an earlier try are checked and not downloaded again."""
    release, known = scratch / "release", scratch / "commit"
    if release.is_dir():
        commit = known.read_text(encoding="utf-8") if known.is_file() else ""
        if re.fullmatch(r"[0-9a-f]{40}", commit):
            release.replace(partial_of(release, commit))
        else:
            shutil.rmtree(release)
    try:
        commit = fetch(source.repo_id, source.revision, release, max_size=max_size)
    except Refusal:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    known.write_text(commit, encoding="utf-8")


def _restore(release: Path, made: Path) -> list[str]:
    """Write the release's tables, images, parameters and provenance into a new folder; return the iterations.

    A release that is refused here would be refused again: what was downloaded is removed.
    """
    shutil.rmtree(made, ignore_errors=True)
    try:
        manifest = read_manifest(release)
        names = [one.name for one in manifest.iterations]
        restore(release, [project_tables(name, root=made) for name in names], images_root=made)
        texts = release_texts(release)
        results = _results(release)
    except UserError:
        shutil.rmtree(made.parent)
        raise
    write_manifest(made, manifest)
    (made / FILE).write_bytes(texts[PARAMS])
    if LOCK in texts:
        (made / LOCK).write_bytes(texts[LOCK])
    if results is not None:
        (made / PUBLISHED).parent.mkdir(parents=True)
        (made / PUBLISHED).write_bytes(results)
    return names


def _results(release: Path) -> bytes | None:
    """Return a release's figures of truth and training after a check; None if it has none."""
    if not (release / RESULTS).is_file():
        return None
    read_results(release / RESULTS)
    return (release / RESULTS).read_bytes()


def _replace(made: Path, target: Path, before: Pulled, source: Source) -> None:
    """Move the new files to their places, and remove files of the earlier pull that the release lacks.

    Until this is done, the record lists both old and new files, so that the next pull can continue an interrupted
    one.
    """
    files = {
        path.relative_to(made).as_posix(): hash_path(path)
        for path in sorted(path for path in made.rglob("*") if path.is_file())
    }
    try:
        _check_places(files, target, before, source)
    except UserError:
        shutil.rmtree(made.parent)
        raise
    write_pulled(target, Pulled(before.source or str(source), before.files, files))
    for path in files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).replace(target / path)
    for path in sorted({*before.files, *before.incoming} - files.keys()):
        (target / path).unlink(missing_ok=True)
        for parent in (target / path).parents:
            if parent == target or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()
    write_pulled(target, Pulled(str(source), files, {}))


def _check_target(target: Path, source: Source) -> Pulled:
    """Return the record of an earlier pull into the target. Raise if the target holds anything else."""
    do = f"csrdata pull {source.repo_id}@{source.revision} ANOTHER_DIR"
    if target.is_symlink() and not target.exists():
        raise UserError(str(target), got="a broken link", expected="a folder", do=do)
    if target.exists() and not target.is_dir():
        raise UserError(str(target), got="a file", expected="a folder", do=do)
    if (target / SCRATCH).is_symlink():
        raise UserError(str(target / SCRATCH), got="a link", expected="a folder or nothing", do="remove it")
    before = read_pulled(target)
    if before is not None:
        _check_places((), target, before, source)
        return before
    ours = {SCRATCH, f"{RECORD}{PARTIAL}"}
    other = sorted(path.name for path in target.iterdir() if path.name not in ours) if target.is_dir() else []
    if other:
        raise UserError(
            str(target),
            got=f"a folder with {other[0]} in it, which no pull wrote",
            expected="an empty or new folder, or an earlier pull",
            do=do,
        )
    return Pulled("", {}, {})


def _check_places(files: Iterable[str], target: Path, before: Pulled, source: Source) -> None:
    """Raise before anything is moved if a path has a link in it, or a file was changed or was written by no pull."""
    do = f"csrdata pull {source.repo_id}@{source.revision} ANOTHER_DIR"
    touched = {*files, *before.files, *before.incoming}
    folders = {target / parent for path in touched for parent in Path(path).parents} - {target}
    for folder in sorted(folders):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UserError(str(folder), got="a link or a file", expected="a folder of the project", do=do)
    filled = {(target / path).parent for path in touched} - {target}
    present = [path for folder in sorted(filled) if folder.is_dir() for path in sorted(folder.iterdir())]
    for here in present:
        if here not in folders and here.relative_to(target).as_posix() not in touched:
            raise UserError(
                str(here), got="a file that no pull wrote", expected="none", do=f"move it away, or: {do}"
            )
    for path in sorted(touched):
        here = target / path
        if here.is_symlink() or (here.exists() and not here.is_file()):
            raise UserError(str(here), got="a link or a folder", expected="a file", do=do)
        if here.is_file() and not before.wrote(path, hash_path(here)):
            got = "a file that was changed" if path in before.files else "a file that no pull wrote"
            raise UserError(str(here), got=got, expected="as it was pulled", do=f"move it away, or: {do}")
