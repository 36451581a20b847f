"""Fetch one iteration of a dataset on the Hub, at its tag, as tables in a temporary folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.publishing.hub.fetch import Source, fetch
from csrdata.publishing.release.layout import CANDIDATES, PROMPTS, RESULTS, own_table
from csrdata.publishing.release.manifest import read_manifest
from csrdata.publishing.release.restore import read_release_table, released, restore
from csrdata.publishing.release.results import read_results
from csrdata.records import Dropped, Pair
from csrdata.storage.iteration_tables import IterationTables

_RELEASE = "release"
"""The folder of the downloaded files, inside the scratch folder."""


def fetch_iteration(source: Source, name: str | None, *, scratch: Path, **hub: Any) -> IterationTables:
    """Fetch a dataset and restore the tables of one iteration.

    Args:
        source: the dataset and its tag.
        name: an iteration of the dataset; None takes the last one.
        scratch: an empty folder; the returned tables are in it.
        hub: the connection's arguments, as in `fetch`.

    Raises:
        UserError: the dataset cannot be fetched, or has no such iteration.
    """
    folder, chosen = _fetch(source, name, scratch, ["csrdata/*", f"{CANDIDATES}/*"], hub)
    tables = scratch / "tables"
    where = IterationTables(
        chosen,
        prompts=tables / "prompts.parquet",
        candidates=tables / "candidates",
        responses=tables / "responses",
        pairs=tables / "pairs.parquet",
        dropped=tables / "dropped.parquet",
    )
    restore(folder, [where])
    return where


def fetch_pairs(source: Source, name: str | None, *, scratch: Path, **hub: Any) -> IterationTables:
    """Fetch only the pairs and the dropped prompts of one iteration; arguments and errors are those of `fetch_iteration`.

    Candidates are not fetched, and only `pairs`, `dropped` and `prompts` may be read.
    """
    folder, chosen = _fetch(source, name, scratch, ["csrdata/*", RESULTS], hub)
    manifest = read_manifest(folder)
    pairs, dropped = (own_table(chosen, table) for table in ("pairs", "dropped"))
    read_release_table(folder, pairs, Pair, manifest)
    read_release_table(folder, dropped, Dropped, manifest)
    return IterationTables(
        chosen,
        prompts=folder / PROMPTS,
        candidates=folder / CANDIDATES,
        responses=folder / own_table(chosen, "responses"),
        pairs=folder / pairs,
        dropped=folder / dropped,
    )


def fetched_world(scratch: Path) -> int | None:
    """Return the version of the microworld that a fetched dataset states; None if it states none.

    Args:
        scratch: the folder given to `fetch_pairs`.
    """
    results = scratch / _RELEASE / RESULTS
    return read_results(results).world if results.is_file() else None


def _fetch(
    source: Source, name: str | None, scratch: Path, only: Sequence[str], hub: dict[str, Any]
) -> tuple[Path, str]:
    """Fetch the wanted files of a release; its images are not fetched."""
    folder = scratch / _RELEASE
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
