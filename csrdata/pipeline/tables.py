"""Paths of the tables of one iteration in a project."""

from pathlib import Path

from csrdata import paths
from csrdata.storage.iteration_tables import IterationTables


def project_tables(name: str, *, root: Path = Path()) -> IterationTables:
    """Return the paths of an iteration's tables in a project, by default in the current folder."""
    return IterationTables(
        name,
        prompts=root / paths.PROMPTS,
        candidates=root / paths.candidates(name),
        responses=root / paths.responses(name),
        pairs=root / paths.pairs(name),
        dropped=root / paths.dropped(name),
    )
