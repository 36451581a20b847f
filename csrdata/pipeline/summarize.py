"""Wiring of `summarize`: all answers and pairs in; the summary, its table and the plots out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation import table
from csrdata.evaluation.judging import JudgingFigures, judging_figures
from csrdata.evaluation.record import EvaluationRecord, common_record, describe_evaluation, read_record
from csrdata.evaluation.scorecard import Known, scorecards
from csrdata.evaluation.summarizing import summarize_pairs, summarize_splits
from csrdata.evaluation.summary import (
    Summary,
    headline,
    read_numbers,
    read_prepared,
)
from csrdata.evaluation.truth_preference import TruthPreference, truth_preference
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.plots import write_plots
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth, source_truths
from csrdata.records import Answer, Dropped, Pair, Prompt, Question, Response, Truth, Verdict
from csrdata.sources.base import Source
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import atomic_file, read_rows, write_json

SAMPLED = "dvc repro sample_prompts"
MARKDOWN = paths.SUMMARY.with_suffix(".md")


def run(params: Params) -> None:
    """Summarise the base and all iterations, and print the table."""
    settings, source = params.summarize, open_source(params.source)
    questions = read_rows(paths.QUESTIONS, Question, made_by=SAMPLED)
    truths = read_rows(paths.TRUTH, Truth, made_by=SAMPLED)
    known = known_truth(params.evaluation_sets, source, Asked(questions, truths))
    policies = (paths.BASE, *params.iterations)
    cards = {
        policy: scorecards(questions, _answers(policy), known, made_by=_made_by(policy))
        for policy in policies
    }
    prompt_truths = source_truths(params.evaluation_sets, truths)
    prefer, judge = _preference(source, prompt_truths), _judging(params, source, prompt_truths)
    pairs = {
        iteration: summarize_pairs(
            read_rows(paths.pairs(iteration), Pair, made_by=f"dvc repro select_pairs@{iteration}"),
            read_rows(paths.dropped(iteration), Dropped, made_by=f"dvc repro select_pairs@{iteration}"),
            prefer(iteration),
            judge(iteration),
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
        iterations=policies,
        splits=summarize_splits(cards, **settings.model_dump()),
        pairs=pairs,
        training=training,
        prepared=read_prepared(open_json(paths.PREPARE_METRICS, made_by="dvc repro prepare")),
        evaluation=_record(policies, questions, known),
    )
    write_json(paths.SUMMARY, summary.as_json())
    write_json(paths.HEADLINE, asdict(headline(summary)))
    with atomic_file(MARKDOWN) as partial:
        partial.write_text(table.markdown(summary, confidence=settings.confidence), encoding="utf-8")
    write_plots(summary)
    table.show(summary, confidence=settings.confidence)


def _made_by(policy: str) -> str:
    """Return the command that makes a policy's answers."""
    return "dvc repro evaluate_base" if policy == paths.BASE else f"dvc repro evaluate_policy@{policy}"


def _answers(policy: str) -> list[Answer]:
    return read_rows(paths.answers(policy), Answer, made_by=_made_by(policy))


def _record(
    policies: Sequence[str], questions: Sequence[Question], known: Mapping[str, Known]
) -> EvaluationRecord:
    """Return what all policies were evaluated on.

    Raises:
        UserError: a policy was asked other questions than the table has, or held against another truth.
    """
    records: list[EvaluationRecord] = []
    for policy in policies:
        path, made_by = paths.evaluation_record(policy), _made_by(policy)
        record = read_record(open_json(path, made_by=made_by))
        tokens = (records or [record])[0].description_tokens
        present = describe_evaluation(questions, known, max_new_tokens=tokens)
        if record.protocol() != present.protocol():
            raise UserError(
                str(path),
                got="other questions, truth, rules or token limits",
                expected=f"those of {paths.QUESTIONS}, {paths.TRUTH} and the base",
                do=made_by,
            )
        records.append(record)
    return common_record(records)


def _preference(source: Source, truths: Mapping[str, Truth]) -> Callable[[str], TruthPreference | None]:
    """Return what compares an iteration's rewards with the truth; it gives None where the source knows no truth."""
    parser = source.claim_parser()
    if parser is None:
        return lambda _: None
    prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLED)
    asked = _truths_of(prompts, truths, made_by=SAMPLED)

    def prefer(iteration: str) -> TruthPreference:
        made_by = f"dvc repro score_beams@{iteration}"
        return truth_preference(
            read_rows(paths.responses(iteration), Response, made_by=made_by), asked, parser
        )

    return prefer


def _judging(
    params: Params, source: Source, truths: Mapping[str, Truth]
) -> Callable[[str], JudgingFigures | None]:
    """Return what compares an iteration's verdicts with the truth; it gives None where no policy judged its answers."""
    if params.select_pairs.kind != "judged":
        return lambda _: None
    parser = source.claim_parser()
    prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLED)
    asked = {} if parser is None else _truths_of(prompts, truths, made_by=SAMPLED)

    def judge(iteration: str) -> JudgingFigures:
        return judging_figures(
            read_rows(paths.verdicts(iteration), Verdict, made_by=f"dvc repro judge_answers@{iteration}"),
            read_rows(paths.responses(iteration), Response, made_by=f"dvc repro score_beams@{iteration}"),
            asked,
            parser,
        )

    return judge


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
