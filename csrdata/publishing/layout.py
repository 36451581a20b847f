"""Where each thing lies in a release; the folder is exactly what goes to the Hub.

README.md                                      the card
iteration_1/train-00000-of-00001.parquet       the pairs of iteration 1: TRL's columns and scores; one config an iteration
candidates/iteration_1-00000-of-00001.parquet  every sentence of its search; one split an iteration
csrdata/prompts.parquet                        the project's own tables
csrdata/iteration_1/{responses,pairs,dropped}.parquet
csrdata/iteration_1/{candidates,responses}.json    what the shards were made from, as their folder's manifest says
plots/*.png                                    what the card shows
provenance/{manifest.json,params.yaml,dvc.lock}
"""

from dataclasses import dataclass
from pathlib import Path

CARD = "README.md"
PLOTS = "plots"
PARAMS = "provenance/params.yaml"
LOCK = "provenance/dvc.lock"
PROMPTS = "csrdata/prompts.parquet"
CANDIDATES = "candidates"
"""The config of the candidates, and its folder."""
SPLIT = "train"
"""The one split of a config of pairs."""


@dataclass(frozen=True, slots=True)
class ReleaseIteration:
    """Where one iteration's tables lie in a project: what a release is made from, and what it is restored to."""

    name: str
    """As in params.yaml: "1", "2", ..."""
    prompts: Path
    """The same table in every iteration."""
    candidates: Path
    """A folder of shards."""
    responses: Path
    """A folder of shards, shard for shard those of `candidates`."""
    pairs: Path
    dropped: Path


def config(name: str) -> str:
    """Return the config of an iteration's pairs, which is also its folder and its split of the candidates.

    Example: "1" -> "iteration_1"
    """
    return f"iteration_{name}"


def pair_file(name: str, index: int, of: int) -> str:
    """Return one file of an iteration's pairs."""
    return f"{config(name)}/{SPLIT}-{index:05d}-of-{of:05d}.parquet"


def candidate_file(name: str, index: int, of: int) -> str:
    """Return one file of an iteration's candidates."""
    return f"{CANDIDATES}/{config(name)}-{index:05d}-of-{of:05d}.parquet"


def own_table(name: str, table: str) -> str:
    """Return an iteration's own table: `responses`, `pairs` or `dropped`."""
    return f"csrdata/{config(name)}/{table}.parquet"


def shard_manifest(name: str, table: str) -> str:
    """Return the manifest of a folder of shards: `candidates` or `responses`."""
    return f"csrdata/{config(name)}/{table}.json"


def pair_glob(name: str) -> str:
    """Return what matches the files of an iteration's pairs, and no other."""
    return f"{config(name)}/{SPLIT}-*.parquet"


def candidate_glob(name: str) -> str:
    """Return what matches the files of an iteration's candidates, and no other: `iteration_1` is no `iteration_10`."""
    return f"{CANDIDATES}/{config(name)}-*.parquet"
