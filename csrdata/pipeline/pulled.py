"""A pulled project: the record of the files that a pull wrote, and what to run there instead of `dvc repro`.

`csrdata-pull.json` names the release and lists every file that was written, with its SHA-256. The next pull replaces
only these files, and only if nobody changed them. The release's manifest and dvc.lock are kept in `provenance/`.
`csrdata push` reads them, because a pulled project has no policies and scorers that it could describe itself.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import FILE
from csrdata.pipeline.results import PUBLISHED
from csrdata.publishing.release.layout import LOCK, PROJECT_IMAGES, is_iteration_name, parse_image_name
from csrdata.publishing.release.manifest import MANIFEST
from csrdata.publishing.release.untrusted import parse_json
from csrdata.storage.tables import hash_path, write_json

RECORD = Path("csrdata-pull.json")
DAG = Path("dvc.yaml")


@dataclass(frozen=True, slots=True)
class Pulled:
    """The record of a pull."""

    source: str
    """`hf://datasets/OWNER/NAME@TAG`."""
    files: dict[str, str]
    """SHA-256 of each file by its path: POSIX, relative to the project."""
    incoming: dict[str, str]
    """The same for files that an interrupted pull may have written in addition."""

    def wrote(self, path: str, sha256: str) -> bool:
        """Return whether a pull wrote this content to this path."""
        return sha256 in (self.files.get(path), self.incoming.get(path))


def read_pulled(folder: Path) -> Pulled | None:
    """Return the record of the pull that wrote a folder; None if there is no record.

    Raises:
        UserError: the record is damaged, or lists a path that no pull writes.
    """
    path = folder / RECORD
    if not path.is_file() or path.is_symlink():
        return None
    do = f"remove {path}, or choose another folder"
    raw = parse_json(path.read_bytes(), place=str(path), do=do)
    try:
        pulled = Pulled(str(raw["source"]), dict(raw["files"]), dict(raw["incoming"]))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            str(path), got="no source and files", expected="the record of a pull", do=do
        ) from None
    for written in (*pulled.files, *pulled.incoming):
        if not is_pulled_path(written):
            raise UserError(str(path), got=written, expected="a path that a pull writes", do=do)
    return pulled


def write_pulled(folder: Path, pulled: Pulled) -> None:
    """Write the record of a pull, atomically."""
    record = {"source": pulled.source, "files": pulled.files, "incoming": pulled.incoming}
    write_json(folder / RECORD, record)


def is_pulled_path(path: str) -> bool:
    """Return whether a pull may write this path, relative to the project."""
    parts = PurePosixPath(path)
    fixed = {FILE.as_posix(), paths.PROMPTS.as_posix(), PUBLISHED.as_posix(), MANIFEST, LOCK}
    if path in fixed or path != parts.as_posix():
        return path in fixed
    if parts.parent.as_posix() == PROJECT_IMAGES:
        return parse_image_name(f"images/{parts.name}") is not None
    name = parts.parent.name
    if not is_iteration_name(name):
        return False
    shard = parts.name == "manifest.json" or (
        parts.suffix == ".parquet" and parts.stem.isascii() and parts.stem.isdigit()
    )
    if parts.parent in {PurePosixPath(at(name)) for at in (paths.candidates, paths.responses)}:
        return shard
    return path in {at(name).as_posix() for at in (paths.pairs, paths.dropped)}


def changed_since(folder: Path, pulled: Pulled) -> bool:
    """Return whether a file that a pull wrote is missing or has other bytes now."""
    return any(
        not (folder / path).is_file() or hash_path(folder / path) != sha256
        for path, sha256 in pulled.files.items()
    )


def next_step(error: UserError) -> UserError:
    """Return the error with a next command that works in this folder: `dvc` cannot run without a dvc.yaml."""
    if "dvc " not in error.do or DAG.exists():
        return error
    try:
        pulled = read_pulled(Path())
    except UserError:
        pulled = None
    if pulled is None:
        do = f"go to a project's folder (there is no {DAG} here), then: {error.do}"
    else:
        source = pulled.source.rpartition("datasets/")[2]
        do = f"csrdata pull {source} . (a pulled project has no {DAG}: what the release lacks cannot be made here)"
    return UserError(error.place, got=error.got, expected=error.expected, do=do)
