"""One iteration's tables, read together: the input of the inspection commands.

The caller knows where the tables are. What is in them is validated when they are read.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.records import Dropped, Pair, Prompt, Record, Response, Sentence
from csrdata.storage.tables import from_table, read_table
from csrdata.storage.values import check_values


@dataclass(frozen=True, slots=True)
class Iteration:
    """The prompts, and what one iteration made of them."""

    name: str
    prompts: pl.DataFrame
    sentences: pl.DataFrame
    responses: pl.DataFrame
    pairs: pl.DataFrame
    dropped: pl.DataFrame


@dataclass(frozen=True, slots=True)
class SearchTree:
    """One prompt's part of an iteration."""

    prompt: Prompt
    sentences: list[Sentence]
    responses: list[Response]
    pair: Pair | None
    dropped: Dropped | None


def read_iteration(
    name: str, *, prompts: Path, sentences: Path, responses: Path, pairs: Path, dropped: Path
) -> Iteration:
    """Read an iteration's tables.

    Raises:
        UserError: a table is missing or is not what its record says; the command that makes it is named.
    """
    return Iteration(
        name,
        prompts=read_table(prompts, Prompt, made_by="dvc repro sample_prompts"),
        sentences=_read_shards(sentences, Sentence, made_by=f"dvc repro generate_beams@{name}"),
        responses=_read_shards(responses, Response, made_by=f"dvc repro score_beams@{name}"),
        pairs=read_table(pairs, Pair, made_by=f"dvc repro select_pairs@{name}"),
        dropped=read_table(dropped, Dropped, made_by=f"dvc repro select_pairs@{name}"),
    )


def _read_shards(folder: Path, record: Record, *, made_by: str) -> pl.DataFrame:
    """Read a folder of shards, and validate over all of them what each was validated for: order and uniqueness."""
    table = read_table(folder, record, made_by=made_by)
    check_values(table, record, place=str(folder), made_by=made_by)
    return table


def search_tree(iteration: Iteration, prompt_id: str) -> SearchTree:
    """Return what the iteration made of one prompt.

    Raises:
        UserError: no such prompt (the nearest id is named), or the pair's answers are not in the tree.
    """
    mine = pl.col("prompt_id") == prompt_id
    prompts = from_table(iteration.prompts.filter(mine), Prompt)
    if not prompts:
        ids = iteration.prompts["prompt_id"].to_list()
        near = (difflib.get_close_matches(prompt_id, ids, n=1, cutoff=0.3) or ids[:1] or ["none"])[0]
        raise UserError(
            "PROMPT_ID", got=prompt_id, expected=f"a prompt such as {near}", do=f"csrdata show {near}"
        )
    pairs = from_table(iteration.pairs.filter(mine), Pair)
    dropped = from_table(iteration.dropped.filter(mine), Dropped)
    sentences = from_table(iteration.sentences.filter(mine), Sentence)
    for pair in pairs:
        _check_leaves(pair, sentences, iteration=iteration.name)
    return SearchTree(
        prompts[0],
        sentences=sentences,
        responses=from_table(iteration.responses.filter(mine), Response),
        pair=pairs[0] if pairs else None,
        dropped=dropped[0] if dropped else None,
    )


def _check_leaves(pair: Pair, sentences: Sequence[Sentence], *, iteration: str) -> None:
    nodes = {sentence.node_id for sentence in sentences}
    scores = pair.scores
    for side, leaf in (("chosen_leaf", scores.chosen_leaf), ("rejected_leaf", scores.rejected_leaf)):
        if leaf is not None and leaf not in nodes:
            raise UserError(
                f"pair {pair.prompt_id}: {side}",
                got=leaf,
                expected="a sentence of the prompt's search tree",
                do=f"dvc repro select_pairs@{iteration}",
            )
