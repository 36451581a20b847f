"""Writes the tables of a search of any size, shard by shard, for benchmarks: prompts, candidates and answers.

Every prompt has `ANSWERS` finished answers of two sentences. Values are random and follow the rules of the tables
(`csrdata.storage.values`); rewards are of no scale. Memory does not grow with the prompts.
"""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csrdata import paths
from csrdata.records import NO_PARENT, Fate, Prompt, Response, Sentence, Stop
from csrdata.storage.disk import hash_path
from csrdata.storage.shard_manifest import ShardFile, ShardManifest, shard_name, write_manifest
from csrdata.storage.tables import schema, write_table

WORDS = "a the red blue green circle square star left right top of and is there near big small behind above".split()
ANSWERS = 10
SHARD = 2000
"""Prompts of a shard."""
_POOL = 4000
"""Different sentences of a shard."""


def write_search(count: int, *, name: str = "1") -> None:
    """Write the tables of iteration `name` of a project in the current folder.

    Args:
        count: prompts.
        name: the iteration.
    """
    numbers = range(count)
    prompts = {
        "prompt_id": [f"train-{number:09d}" for number in numbers],
        "image": [f"images/{number // 4}.png" for number in numbers],
        "text": [f"Describe picture {number % 1000}." for number in numbers],
    }
    table = pl.DataFrame(prompts, schema=schema(Prompt))
    write_table(paths.PROMPTS, table)
    shards = -(-count // SHARD)
    written: dict[Path, dict[str, ShardFile]] = {paths.candidates(name): {}, paths.responses(name): {}}
    for shard in range(shards):
        ids = table["prompt_id"][shard * SHARD : (shard + 1) * SHARD]
        made = _shard(ids, np.random.default_rng(shard))
        for (folder, files), part in zip(written.items(), made, strict=True):
            file = folder / shard_name(shard)
            write_table(file, part)
            files[file.name] = ShardFile(rows=len(part), sha256=hash_path(file))
    for folder, files in written.items():
        write_manifest(folder, ShardManifest({}, shards, files))


def _shard(ids: pl.Series, random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the candidates and the answers of some prompts."""
    lengths = random.integers(6, 16, _POOL)
    pool = pl.Series(
        [
            " " + " ".join(WORDS[word] for word in random.integers(0, len(WORDS), size)) + "."
            for size in lengths
        ]
    )
    said = random.integers(0, _POOL, (2, len(ids) * ANSWERS))
    texts = pl.DataFrame({"first": pool.gather(said[0]), "second": pool.gather(said[1])})
    logprobs, relevances = (
        -random.uniform(1, 20, (3, len(said[0]))),
        random.uniform(10, 40, (2, len(said[0]))),
    )
    candidates = pl.concat([_depth(ids, depth, texts, logprobs, relevances) for depth in (1, 2, 3)])
    rewards = random.normal(size=(3, len(said[0])))
    answers = texts.select(
        prompt_id=ids.gather(np.repeat(np.arange(len(ids)), ANSWERS)),
        leaf_id=pl.Series(2 * ANSWERS + np.tile(np.arange(ANSWERS), len(ids))),
        text=pl.col("first") + pl.col("second"),
        words=pl.Series(lengths[said[0]] + lengths[said[1]]),
        sentences=pl.lit(2),
        tokens=pl.lit(25),
        logprob=pl.Series(logprobs.sum(axis=0)),
        reward=pl.Series(rewards[0]),
        likelihood=pl.Series(rewards[1]),
        relevance=pl.Series(relevances.mean(axis=0)),
        relevance_held_out=pl.Series(relevances[0]),
        reward_held_out=pl.Series(rewards[2]),
        finished=pl.lit(value=True),
        canonical=pl.lit(value=True),
        end=pl.lit(2),
    )
    wanted, answer = pl.Schema(schema(Sentence)), pl.Schema(schema(Response))
    return candidates.sort("prompt_id", "node_id").select(list(wanted)).cast(wanted), answers.cast(answer)


def _depth(
    ids: pl.Series,
    depth: int,
    texts: pl.DataFrame,
    logprobs: NDArray[np.float64],
    relevances: NDArray[np.float64],
) -> pl.DataFrame:
    """Return the candidates of one depth; the third one has the ends."""
    answer, is_end = np.tile(np.arange(ANSWERS), len(ids)), depth == 3
    text = pl.Series([""] * len(answer)) if is_end else texts["first" if depth == 1 else "second"]
    return pl.DataFrame(
        {
            "prompt_id": ids.gather(np.repeat(np.arange(len(ids)), ANSWERS)),
            "node_id": answer + (depth - 1) * ANSWERS,
            "parent_id": answer + (depth - 2) * ANSWERS if depth > 1 else np.full(len(answer), NO_PARENT),
            "group": answer,
            "text": text,
            "logprob": logprobs[depth - 1],
            "relevance": [None] * len(answer) if is_end else relevances[depth - 1],
        }
    ).with_columns(
        depth=pl.lit(depth),
        token_ids=pl.lit([2] if is_end else [1] * 12),
        relevance_truncated=pl.lit(value=False),
        relevance=pl.col("relevance").cast(pl.Float64),
        repetition=pl.lit(None if is_end else 0.0, dtype=pl.Float64),
        guidance_reward=pl.lit(None if is_end else 0.0, dtype=pl.Float64),
        stop=pl.lit(Stop.END.value if is_end else Stop.SENTENCE_END.value),
        fate=pl.lit(Fate.FINISHED.value if is_end else Fate.KEPT_BEST.value),
        canonical=pl.lit(value=True),
    )
