"""One iteration of a dataset of the Hub, as tables to read: fetched at its tag, for as long as the caller looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.publishing.hub.fetch import Source, fetch
from csrdata.publishing.release.layout import CANDIDATES, ReleaseIteration, own_table
from csrdata.publishing.release.manifest import read_manifest
from csrdata.publishing.release.restore import read_release_table, released, restore
from csrdata.records import Dropped, Pair


@dataclass(frozen=True, slots=True)
class Outcome:
    """The tables of an iteration's pairs and of the prompts without one."""

    name: str
    """Of the iteration."""
    pairs: Path
    dropped: Path


def fetch_iteration(source: Source, name: str | None, *, scratch: Path, **hub: Any) -> ReleaseIteration:
    """Fetch a dataset and restore one iteration's tables, by default the last one's.

    Args:
        source: the dataset and its tag.
        name: an iteration that it holds.
        scratch: an empty folder; what is returned is in it.
        hub: the connection's arguments, as in `fetch`.

    Raises:
        UserError: it could not be fetched, or holds no such iteration.
    """
    folder, chosen = _fetch(source, name, scratch, ["csrdata/*", f"{CANDIDATES}/*"], hub)
    tables = scratch / "tables"
    where = ReleaseIteration(
        chosen,
        prompts=tables / "prompts.parquet",
        candidates=tables / "candidates",
        responses=tables / "responses",
        pairs=tables / "pairs.parquet",
        dropped=tables / "dropped.parquet",
    )
    restore(folder, [where])
    return where


def fetch_outcome(source: Source, name: str | None, *, scratch: Path, **hub: Any) -> Outcome:
    """Fetch a dataset and say where one iteration's pairs are; arguments and errors are `fetch_iteration`'s."""
    folder, chosen = _fetch(source, name, scratch, ["csrdata/*"], hub)
    manifest = read_manifest(folder)
    pairs, dropped = (own_table(chosen, table) for table in ("pairs", "dropped"))
    read_release_table(folder, pairs, Pair, manifest)
    read_release_table(folder, dropped, Dropped, manifest)
    return Outcome(chosen, pairs=folder / pairs, dropped=folder / dropped)


def _fetch(
    source: Source, name: str | None, scratch: Path, only: Sequence[str], hub: dict[str, Any]
) -> tuple[Path, str]:
    """Fetch what is wanted of a release: its images stay on the Hub."""
    folder = scratch / "release"
    fetch(source.repo_id, source.revision, folder, **hub, only=only)
    names = released(folder)
    if name is not None and name not in names:
        raise UserError(
            f"{source}: iteration",
            got=name,
            expected=f"one of {', '.join(names)}",
            do=f"csrdata stats {source} --iteration {names[-1]}",
        )
    return folder, name or names[-1]
