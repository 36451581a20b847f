"""Wiring of the paper's analyses: stored tables in, tables for plots out (`csrdata.evaluation.analyses`). No model runs."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.analyses import attention, cases, likelihood, released, relevance
from csrdata.evaluation.analyses.attention import Attentions
from csrdata.evaluation.analyses.likelihood import Likelihoods, stored_likelihoods
from csrdata.evaluation.analyses.relevance import SIDES, Answers
from csrdata.evaluation.plots import Table
from csrdata.evaluation.scorecard import Known
from csrdata.pipeline.references import read_references
from csrdata.records import Answer, ImageAttention, Pair, Question, Response, Sentence, Signal
from csrdata.search.responses import SEARCH
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import from_table, read_rows, read_table


def analysis_tables(
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[Answer]],
    pairs: Mapping[str, Sequence[Pair]],
    known: Mapping[str, Known],
    *,
    attentions: Attentions,
    prompts: Known | None,
    signal: str,
    image_weight: float,
    seed: int,
) -> dict[str, Table]:
    """Return the tables of all analyses by name.

    Args:
        questions: of all splits.
        answers: by policy, the base first: one for each question.
        pairs: by iteration.
        known: what is known about the images, by split.
        attentions: by policy, the base first; empty where attention was not measured.
        prompts: what is known about the images of the prompts; None where that is nothing.
        signal, image_weight: of `score_beams`.
        seed: draws the cases.

    Raises:
        UserError: a table is missing or damaged, or training had other pairs.
    """
    own = {iteration: _answers(iteration, rows) for iteration, rows in pairs.items()}
    ranked = {
        iteration: _released(iteration, rows, signal=signal, image_weight=image_weight)
        for iteration, rows in pairs.items()
    }
    likelihoods = {iteration: _likelihoods(iteration, rows) for iteration, rows in pairs.items()}
    drawn = cases.case_rows(questions, answers, pairs, known, prompts=prompts, seed=seed)
    measured = {
        attention.NAME: Table(attention.COLUMNS, attention.attention_rows(attentions)),
        attention.BY_TOKEN: Table(attention.TOKEN_COLUMNS, attention.token_rows(attentions)),
    }
    return (measured if attentions else {}) | {
        relevance.NAME: Table(relevance.COLUMNS, relevance.relevance_rows(pairs, own)),
        released.NAME: Table(released.COLUMNS, released.released_rows(pairs, ranked)),
        likelihood.NAME: Table(likelihood.COLUMNS, likelihood.likelihood_rows(likelihoods)),
        cases.NAME: Table(cases.COLUMNS, drawn),
    }


def read_attentions(policies: Sequence[str]) -> dict[str, list[ImageAttention]]:
    """Return what `measure_attention` measured of each policy.

    Raises:
        UserError: it is missing or damaged.
    """
    return {
        policy: read_rows(
            paths.image_attention(policy),
            ImageAttention,
            made_by=f"dvc repro {'attend_base' if policy == paths.BASE else f'measure_attention@{policy}'}",
        )
        for policy in policies
    }


def _leaves(pairs: Sequence[Pair]) -> set[tuple[str, int]]:
    """Return the prompts and leaves that pairs name."""
    return {
        (pair.prompt_id, leaf)
        for pair in pairs
        for side in SIDES
        if (leaf := getattr(pair.scores, f"{side}_leaf")) is not None
    }


def _of_prompts(table: pl.DataFrame, leaves: set[tuple[str, int]]) -> pl.DataFrame:
    """Return the rows of some prompts, in their order."""
    return table.filter(pl.col("prompt_id").is_in({prompt for prompt, _ in leaves}))


def _answers(iteration: str, pairs: Sequence[Pair]) -> Answers:
    """Return the answers of the search that an iteration's pairs name."""
    table = read_table(paths.responses(iteration), Response, made_by=f"dvc repro score_beams@{iteration}")
    leaves = _leaves(pairs)
    rows = from_table(_of_prompts(table, leaves), Response)
    return {key: row for row in rows if (key := (row.prompt_id, row.leaf_id)) in leaves}


def _released(iteration: str, pairs: Sequence[Pair], *, signal: str, image_weight: float) -> Answers:
    """Return the same answers with rewards on the released code's scale; only trees with pairs are scored."""
    leaves = _leaves(pairs)
    found: dict[tuple[str, int], Response] = {}
    for sentences, signals in _trees(iteration, leaves, signal=signal):
        for answer in released.released_answers(sentences, signals, signal=signal, image_weight=image_weight):
            if (key := (answer.prompt_id, answer.leaf_id)) in leaves:
                found[key] = answer
    return found


def _trees(
    iteration: str, leaves: set[tuple[str, int]], *, signal: str
) -> Iterator[tuple[list[Sentence], list[Signal]]]:
    """Yield, shard by shard, the trees of some prompts, and the signal that their reward uses."""
    made_by, measured_by = f"dvc repro generate_beams@{iteration}", f"dvc repro measure_signals@{iteration}"
    folder, measured = paths.candidates(iteration), paths.signals(iteration)
    for file in check_shards(folder, made_by=made_by).names():
        table = read_table(folder / file, Sentence, made_by=made_by)
        signals: list[Signal] = []
        if signal != SEARCH:
            values = read_table(measured / file, Signal, made_by=measured_by)
            signals = from_table(_of_prompts(values.filter(pl.col("name") == signal), leaves), Signal)
        yield from_table(_of_prompts(table, leaves), Sentence), signals


def _likelihoods(iteration: str, pairs: Sequence[Pair]) -> list[Likelihoods]:
    """Return the pairs under the policy that training starts from; those that the search stored, if it had no reference.

    Raises:
        UserError: training had other pairs.
    """
    made_by, path = f"dvc repro train_dpo@{iteration}", paths.references(iteration)
    rows = {(row.prompt_id, row.number): row for row in read_references(path, made_by=made_by)}
    if not rows:
        return stored_likelihoods(pairs)
    if set(rows) != {(pair.prompt_id, pair.number) for pair in pairs}:
        raise UserError(
            str(path), got="other pairs", expected=f"those of {paths.pairs(iteration)}", do=made_by
        )
    found = []
    for pair in pairs:
        row = rows[pair.prompt_id, pair.number]
        found.append(
            Likelihoods(
                origin=pair.origin,
                chosen=row.chosen_logprob,
                rejected=row.rejected_logprob,
                chosen_tokens=row.chosen_tokens,
                rejected_tokens=row.rejected_tokens,
            )
        )
    return found
