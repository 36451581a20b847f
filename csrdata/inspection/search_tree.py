"""One prompt's search tree, its answers, and its pairs or the reason for none, from the tables of its iteration."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from csrdata.errors import UserError
from csrdata.records import BY_HAND, Dropped, Pair, Prompt, Response, Sentence
from csrdata.storage.dropped import lost_prompts
from csrdata.storage.iteration_tables import LoadedIteration
from csrdata.storage.tables import from_table


@dataclass(frozen=True, slots=True)
class SearchTree:
    """One prompt's part of an iteration."""

    prompt: Prompt
    sentences: list[Sentence]
    responses: list[Response]
    pairs: list[Pair]
    """In the order of their numbers."""
    dropped: Dropped | None
    """Why it has no pair; None if it has one."""
    removed: list[Dropped] = field(default_factory=list)
    """The pairs that curation took out."""


def search_tree(iteration: LoadedIteration, prompt_id: str) -> SearchTree:
    """Return one prompt's search tree, answers, and pairs or reason.

    Raises:
        UserError: no such prompt (the nearest id is named), or a pair's sentences are not in the tree.
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
    own = iteration.dropped.filter(mine)
    lost = from_table(lost_prompts(own.lazy(), iteration.pairs.lazy()).collect(), Dropped)
    sentences = from_table(iteration.candidates.filter(mine), Sentence)
    for pair in pairs:
        _check_leaves(pair, sentences, iteration=iteration.name)
    return SearchTree(
        prompts[0],
        sentences=sentences,
        responses=from_table(iteration.responses.filter(mine), Response),
        pairs=sorted(pairs, key=lambda pair: pair.number),
        dropped=lost[0] if lost else None,
        removed=[row for row in from_table(own, Dropped) if row.reason in BY_HAND],
    )


def _check_leaves(pair: Pair, sentences: Sequence[Sentence], *, iteration: str) -> None:
    nodes = {sentence.node_id for sentence in sentences}
    scores = pair.scores
    for side, leaf in (("chosen_leaf", scores.chosen_leaf), ("rejected_leaf", scores.rejected_leaf)):
        if leaf is not None and leaf not in nodes:
            raise UserError(
                f"pair {pair.prompt_id}{f', number {pair.number}' if pair.number else ''}: {side}",
                got=leaf,
                expected="a sentence of the prompt's search tree",
                do=f"dvc repro select_pairs@{iteration}",
            )
