"""Wiring of `summarize`: all answers and pairs in; the summary, its table and the plots out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation import table
from csrdata.evaluation.scorecard import scorecards
from csrdata.evaluation.summarizing import summarize_pairs, summarize_splits
from csrdata.evaluation.summary import (
    BASE,
    Summary,
    headline,
    read_numbers,
    read_prepared,
)
from csrdata.evaluation.truth_preference import truth_preference
from csrdata.params import Params
from csrdata.pipeline.plots import write_plots
from csrdata.pipeline.source import claim_parser
from csrdata.records import Answer, Dropped, Pair, Prompt, Question, Response, Truth
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import atomic_file, read_rows, write_json

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
            truth_preference(
                read_rows(paths.responses(iteration), Response, made_by=f"dvc repro score_beams@{iteration}"),
                asked,
                read,
            ),
        )
        for iteration in params.iterations
    }
    training = {
        iteration: read_numbers(
            open_json(
                paths.stage_metrics("train_dpo", iteration), made_by=f"dvc repro train_dpo@{iteration}"
            ),
            needs=("pairs",),
        )
        for iteration in params.iterations
    }
    summary = Summary(
        iterations=tuple(policies),
        splits=summarize_splits(cards, **settings.model_dump()),
        pairs=pairs,
        training=training,
        prepared=read_prepared(open_json(paths.PREPARE_METRICS, made_by="dvc repro prepare")),
    )
    write_json(paths.SUMMARY, summary.as_json())
    write_json(paths.HEADLINE, asdict(headline(summary)))
    with atomic_file(MARKDOWN) as partial:
        partial.write_text(table.markdown(summary, confidence=settings.confidence), encoding="utf-8")
    write_plots(summary)
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
