"""The tables of one iteration: `IterationTables` holds their paths, `load` reads them all into a `LoadedIteration`.

The tables may be the project's (`csrdata.pipeline.tables.project_tables`) or fetched from a release. The paths need not
exist; the error about a missing table names the command that makes it.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl

from csrdata.records import Dropped, Pair, Prompt, Record, Response, Sentence
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import read_table


@dataclass(frozen=True, slots=True)
class LoadedIteration:
    """One iteration's tables in memory, validated when they were read."""

    name: str
    """As in params.yaml: "1", "2", ..."""
    prompts: pl.DataFrame
    candidates: pl.DataFrame
    """`Sentence` rows, of all shards; without `text` where the iteration was loaded for figures."""
    responses: pl.DataFrame
    """`Response` rows, in the same way."""
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

    def read_candidates(self, *, texts: bool = True) -> pl.DataFrame:
        return _read_shards(
            self.candidates, Sentence, made_by=f"dvc repro generate_beams@{self.name}", texts=texts
        )

    def read_responses(self, *, texts: bool = True) -> pl.DataFrame:
        return _read_shards(
            self.responses, Response, made_by=f"dvc repro score_beams@{self.name}", texts=texts
        )

    def read_pairs(self) -> pl.DataFrame:
        return read_table(self.pairs, Pair, made_by=f"dvc repro select_pairs@{self.name}")

    def read_dropped(self) -> pl.DataFrame:
        return read_table(self.dropped, Dropped, made_by=f"dvc repro select_pairs@{self.name}")

    def load(self, *, texts: bool = True) -> LoadedIteration:
        """Read all tables.

        Args:
            texts: whether candidates and responses keep their texts, which take most of the memory and are in no figure.
        """
        return LoadedIteration(
            self.name,
            prompts=self.read_prompts(),
            candidates=self.read_candidates(texts=texts),
            responses=self.read_responses(texts=texts),
            pairs=self.read_pairs(),
            dropped=self.read_dropped(),
        )


def _read_shards(folder: Path, record: Record, *, made_by: str, texts: bool) -> pl.DataFrame:
    """Read a folder of shards, or one file; without texts, only one shard has its texts in memory."""
    if texts or not folder.is_dir():
        table = read_table(folder, record, made_by=made_by)
        return table if texts else table.drop("text")
    names = check_shards(folder, made_by=made_by).names()
    parts = [read_table(folder / name, record, made_by=made_by).drop("text") for name in names]
    ends = [(part["prompt_id"].min(), part["prompt_id"].max()) for part in parts if len(part)]
    if all(str(one[1]) < str(other[0]) for one, other in pairwise(ends)):
        return pl.concat(parts)
    # Shards that share prompts, or are in another order: the rules on order and uniqueness need the whole table.
    return read_table(folder, record, made_by=made_by).drop("text")
