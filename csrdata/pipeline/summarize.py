"""Wiring of `summarize`: all answers and pairs in; the summary, its table and the plots out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation import table
from csrdata.evaluation.scorecard import scorecards
from csrdata.evaluation.summary import (
    BASE,
    headline,
    iteration_rows,
    pair_reward_rows,
    summarize_pairs,
    summarize_splits,
)
from csrdata.params import Params
from csrdata.pipeline.source import claim_parser
from csrdata.records import Answer, Dropped, Pair, Prompt, Question, Response, Truth
from csrdata.storage.tables import atomic_file, read_json, read_rows, write_json

MARKDOWN = paths.SUMMARY.with_suffix(".md")


def run(params: Params) -> None:
    """Summarise the base and all iterations, and print the table."""
    settings, read = params.summarize, claim_parser(params.source)
    sampled = "dvc repro sample_prompts"
    questions = read_rows(paths.QUESTIONS, Question, made_by=sampled)
    truths = {truth.image: truth for truth in read_rows(paths.TRUTH, Truth, made_by=sampled)}
    asked = _truths_of(read_rows(paths.PROMPTS, Prompt, made_by=sampled), truths, made_by=sampled)
    policies = {BASE: paths.BASE, **{iteration: iteration for iteration in params.iterations}}
    cards = {}
    for label, policy in policies.items():
        made_by = "dvc repro evaluate_base" if policy == paths.BASE else f"dvc repro evaluate_policy@{policy}"
        answers = read_rows(paths.answers(policy), Answer, made_by=made_by)
        cards[label] = scorecards(questions, answers, truths, read, made_by=made_by)
    pairs = {
        iteration: summarize_pairs(
            read_rows(paths.pairs(iteration), Pair, made_by=f"dvc repro select_pairs@{iteration}"),
            read_rows(paths.dropped(iteration), Dropped, made_by=f"dvc repro select_pairs@{iteration}"),
            read_rows(paths.responses(iteration), Response, made_by=f"dvc repro score_beams@{iteration}"),
            asked,
            read,
        )
        for iteration in params.iterations
    }
    training = {
        iteration: _read_figures(
            paths.stage_metrics("train_dpo", iteration),
            needs=("pairs",),
            made_by=f"dvc repro train_dpo@{iteration}",
        )
        for iteration in params.iterations
    }
    prepared = _read_figures(
        paths.PREPARE_METRICS,
        needs=("policy", *(f"machine.{key}" for key in table.MACHINE)),
        texts=("machine",),
        made_by="dvc repro prepare",
    )
    summary: dict[str, Any] = {
        "iterations": list(policies),
        "splits": summarize_splits(cards, **settings.model_dump()),
        "pairs": pairs,
        "training": training,
        "prepared": prepared,
    }
    write_json(paths.SUMMARY, summary)
    write_json(paths.HEADLINE, headline(summary))
    with atomic_file(MARKDOWN) as partial:
        partial.write_text(table.markdown(summary, confidence=settings.confidence), encoding="utf-8")
    for split, iterations in summary["splits"].items():
        _write_csv(paths.PLOTS / f"{split}.csv", iteration_rows(iterations))
    _write_csv(paths.PLOTS / "pair_rewards.csv", pair_reward_rows(pairs))
    table.show(summary, confidence=settings.confidence)


def _truths_of(prompts: Sequence[Prompt], truths: Mapping[str, Truth], *, made_by: str) -> dict[str, Truth]:
    """Return the truth of each prompt's image, by the prompt's id.

    Raises:
        UserError: nothing is known of an image.
    """
    for prompt in prompts:
        if prompt.image not in truths:
            raise UserError(
                str(paths.TRUTH), got=f"no row for {prompt.image}", expected="one for each image", do=made_by
            )
    return {prompt.prompt_id: truths[prompt.image] for prompt in prompts}


def _read_figures(
    path: Path, *, needs: Sequence[str], made_by: str, texts: Sequence[str] = ()
) -> dict[str, Any]:
    """Read a stage's metrics: numbers by name, some of them in groups (`GROUP.NAME`); those of `texts` may hold text too.

    Raises:
        UserError: the file cannot be read, a name of `needs` is missing, or a value is no number.
    """
    figures = read_json(path, made_by=made_by)
    groups = {name: value for name, value in figures.items() if isinstance(value, dict)}
    there = {*figures, *(f"{name}.{key}" for name, group in groups.items() for key in group)}
    if missing := [name for name in needs if name not in there]:
        raise UserError(f"{path}: {missing[0]}", got="no such figure", expected="a value", do=made_by)
    for name, value in figures.items():
        for one in value.values() if isinstance(value, dict) else [value]:
            wanted = int | float | str if name in texts else int | float
            if one is not None and not isinstance(one, wanted):
                raise UserError(f"{path}: {name}", got=one, expected="a number", do=made_by)
    return figures


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(pl.DataFrame(rows, infer_schema_length=None).write_csv(), encoding="utf-8")
