"""One iteration of a data set of the Hub, as tables to read: fetched at its tag, for as long as the caller looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.publishing.fetch import Source, fetch
from csrdata.publishing.layout import CANDIDATES, ReleaseIteration, own_table
from csrdata.publishing.restore import released, restore


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the pairs of an iteration lie, and the prompts without one."""

    name: str
    """Of the iteration."""
    pairs: Path
    dropped: Path


def fetch_iteration(source: Source, name: str | None, *, scratch: Path, **hub: Any) -> ReleaseIteration:
    """Fetch a data set and restore one iteration's tables, by default the last one's.

    Args:
        source: the data set and its tag.
        name: an iteration that it holds.
        scratch: an empty folder; what is returned lies in it.
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
    """Fetch a data set and say where one iteration's pairs lie; arguments and errors are `fetch_iteration`'s."""
    folder, chosen = _fetch(source, name, scratch, ["csrdata/*"], hub)
    pairs, dropped = (folder / own_table(chosen, table) for table in ("pairs", "dropped"))
    return Outcome(chosen, pairs=pairs, dropped=dropped)


def _fetch(
    source: Source, name: str | None, scratch: Path, only: Sequence[str], hub: dict[str, Any]
) -> tuple[Path, str]:
    """Fetch what is wanted of a release: its images, in the pairs as others read them, stay where they are."""
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
