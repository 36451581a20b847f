"""The tables of one iteration: `IterationTables` holds their paths, `load` reads them all into a `LoadedIteration`.

The tables may be the project's (`csrdata.pipeline.tables.project_tables`) or fetched from a release. The paths need not
exist; the error about a missing table names the command that makes it.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csrdata.records import Dropped, Pair, Prompt, Record, Response, Sentence
from csrdata.storage.tables import read_table
from csrdata.storage.values import check_values


@dataclass(frozen=True, slots=True)
class LoadedIteration:
    """One iteration's tables in memory, validated when they were read."""

    name: str
    """As in params.yaml: "1", "2", ..."""
    prompts: pl.DataFrame
    candidates: pl.DataFrame
    """`Sentence` rows, of all shards."""
    responses: pl.DataFrame
    pairs: pl.DataFrame
    dropped: pl.DataFrame


@dataclass(frozen=True, slots=True)
class IterationTables:
    """The paths of one iteration's tables. Each method reads one table, and raises `UserError` as `read_table` does."""

    name: str
    """As in params.yaml: "1", "2", ..."""
    prompts: Path
    """The same table in every iteration."""
    candidates: Path
    """A folder of shards of `Sentence` rows."""
    responses: Path
    """A folder of shards, one for each shard of `candidates`."""
    pairs: Path
    dropped: Path

    def read_prompts(self) -> pl.DataFrame:
        return read_table(self.prompts, Prompt, made_by="dvc repro sample_prompts")

    def read_candidates(self) -> pl.DataFrame:
        return _read_shards(self.candidates, Sentence, made_by=f"dvc repro generate_beams@{self.name}")

    def read_responses(self) -> pl.DataFrame:
        return _read_shards(self.responses, Response, made_by=f"dvc repro score_beams@{self.name}")

    def read_pairs(self) -> pl.DataFrame:
        return read_table(self.pairs, Pair, made_by=f"dvc repro select_pairs@{self.name}")

    def read_dropped(self) -> pl.DataFrame:
        return read_table(self.dropped, Dropped, made_by=f"dvc repro select_pairs@{self.name}")

    def load(self) -> LoadedIteration:
        """Read all tables."""
        return LoadedIteration(
            self.name,
            prompts=self.read_prompts(),
            candidates=self.read_candidates(),
            responses=self.read_responses(),
            pairs=self.read_pairs(),
            dropped=self.read_dropped(),
        )


def _read_shards(folder: Path, record: Record, *, made_by: str) -> pl.DataFrame:
    """Read a folder of shards, and validate the values of the whole table: order and uniqueness must hold across shards."""
    table = read_table(folder, record, made_by=made_by)
    check_values(table, record, place=str(folder), made_by=made_by)
    return table
