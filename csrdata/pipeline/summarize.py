"""Wiring of `summarize`: all answers and pairs in; the summary, its table and the plots out."""

from collections.abc import Callable, Mapping, Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation import table
from csrdata.evaluation.equal_recall_intervals import at_recall
from csrdata.evaluation.judging import JudgingFigures, judging_figures
from csrdata.evaluation.record import EvaluationRecord, common_record, describe_evaluation, read_record
from csrdata.evaluation.scorecard import Known, scorecards
from csrdata.evaluation.summarizing import (
    summarize_pairs,
    summarize_recall,
    summarize_splits,
    with_recall,
)
from csrdata.evaluation.summary import (
    Summary,
    headline,
    read_numbers,
    read_prepared,
    read_world,
)
from csrdata.evaluation.truth_preference import TruthPreference, truth_preference
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.analyses import analysis_tables, read_attentions
from csrdata.pipeline.answers import evaluated_by, read_answers
from csrdata.pipeline.inputs import read_left_out
from csrdata.pipeline.plots import write_plots
from csrdata.pipeline.recall_curves import read_base_curves, read_curves
from csrdata.pipeline.source import open_source
from csrdata.pipeline.stopping import ran, stopped_loops
from csrdata.pipeline.truth import known_truth, source_truths, truths_of
from csrdata.records import (
    Dropped,
    Pair,
    Prompt,
    Question,
    Response,
    Truth,
    Verdict,
)
from csrdata.sources.base import Source
from csrdata.storage.dropped import lost_prompts
from csrdata.storage.json_values import open_json
from csrdata.storage.tables import atomic_file, from_table, read_rows, read_table, write_json

SAMPLED = "dvc repro sample_prompts"
MARKDOWN = paths.SUMMARY.with_suffix(".md")


def run(params: Params) -> None:
    """Summarise the base and all iterations that ran, and print the table."""
    settings, source = params.summarize, open_source(params.source)
    questions = read_rows(paths.QUESTIONS, Question, made_by=SAMPLED)
    truths = read_rows(paths.TRUTH, Truth, made_by=SAMPLED)
    known = known_truth(params.evaluation_sets, source, Asked(questions, truths))
    iterations = ran(params.iterations)
    policies = (paths.BASE, *iterations)
    answers, cards = {}, {}
    for policy in policies:
        answers[policy] = read_answers(policy)
        cards[policy] = scorecards(questions, answers[policy], known, made_by=evaluated_by(policy))
    prompt_truths = source_truths(params.evaluation_sets, truths)
    prefer, judge = _preference(params, source, prompt_truths), _judging(params, source, prompt_truths)
    rows = {
        iteration: read_rows(paths.pairs(iteration), Pair, made_by=f"dvc repro select_pairs@{iteration}")
        for iteration in iterations
    }
    pairs = {
        iteration: summarize_pairs(
            rows[iteration],
            _lost(iteration),
            prefer(iteration),
            judge(iteration),
        )
        for iteration in iterations
    }
    training = {
        iteration: read_numbers(
            open_json(
                paths.stage_metrics("train_dpo", iteration), made_by=f"dvc repro train_dpo@{iteration}"
            ),
            needs=("pairs",),
        )
        for iteration in iterations
    }
    splits, equal_recall = summarize_splits(cards, **settings.model_dump()), None
    if params.match_recall is not None:
        split, curves = params.match_recall.split, read_curves(policies, questions, known)
        base = read_base_curves(questions, known, setting=split)
        found = at_recall({**curves, paths.BASE: base}, split=split, **settings.model_dump())
        splits = with_recall(splits, found)
        equal_recall = summarize_recall(found, curves, split=split)
    prepared = open_json(paths.PREPARE_METRICS, made_by="dvc repro prepare")
    summary = Summary(
        iterations=policies,
        splits=splits,
        pairs=pairs,
        training=training,
        prepared=read_prepared(prepared),
        evaluation=_record(policies, questions, known),
        equal_recall=equal_recall,
        world=read_world(prepared),
        stopped=stopped_loops(params),
    )
    parser = source.claim_parser()
    analyses = analysis_tables(
        questions,
        answers,
        rows,
        known,
        attentions={} if params.measure_attention is None else read_attentions(policies),
        prompts=None if parser is None else Known(prompt_truths, parser),
        signal=params.score_beams.signal,
        image_weight=params.score_beams.image_weight,
        seed=settings.seed,
    )
    write_json(paths.SUMMARY, summary.as_json())
    write_json(paths.HEADLINE, headline(summary).as_json())
    with atomic_file(MARKDOWN) as partial:
        partial.write_text(table.markdown(summary, confidence=settings.confidence), encoding="utf-8")
    write_plots(summary, analyses)
    table.show(summary, confidence=settings.confidence)


def _lost(iteration: str) -> list[Dropped]:
    """Return the prompts of an iteration without a pair."""
    made_by = f"dvc repro select_pairs@{iteration}"
    dropped, pairs = (
        read_table(table(iteration), record, made_by=made_by).lazy()
        for table, record in ((paths.dropped, Dropped), (paths.pairs, Pair))
    )
    return from_table(lost_prompts(dropped, pairs).collect(), Dropped)


def _record(
    policies: Sequence[str], questions: Sequence[Question], known: Mapping[str, Known]
) -> EvaluationRecord:
    """Return what all policies were evaluated on.

    Raises:
        UserError: a policy was asked other questions than the table has, others were left out, or it was compared with
            another truth.
    """
    left_out = read_left_out()
    records: list[EvaluationRecord] = []
    for policy in policies:
        path, made_by = paths.evaluation_record(policy), evaluated_by(policy)
        record = read_record(open_json(path, made_by=made_by))
        first = (records or [record])[0]
        present = describe_evaluation(
            questions,
            known,
            left_out=left_out,
            max_new_tokens=first.description_tokens,
            decoding=first.decoding,
        )
        if record.protocol() != present.protocol():
            raise UserError(
                str(path),
                got="other questions, questions left out, truth, rules, decoding or token limits",
                expected=f"those of {paths.QUESTIONS}, {paths.TRUTH} and the base",
                do=made_by,
            )
        records.append(record)
    return common_record(records)


def _preference(
    params: Params, source: Source, truths: Mapping[str, Truth]
) -> Callable[[str], TruthPreference | None]:
    """Return what compares an iteration's rewards with the truth.

    It gives None where the source knows no truth, and for imported pairs, which have no rewards.
    """
    parser = source.claim_parser()
    if parser is None or params.select_pairs.kind == "imported":
        return lambda _: None
    prompts = read_rows(paths.PROMPTS, Prompt, made_by=SAMPLED)
    asked = truths_of(prompts, truths, made_by=SAMPLED)

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
    asked = {} if parser is None else truths_of(prompts, truths, made_by=SAMPLED)

    def judge(iteration: str) -> JudgingFigures:
        return judging_figures(
            read_rows(paths.verdicts(iteration), Verdict, made_by=f"dvc repro judge_answers@{iteration}"),
            read_rows(paths.responses(iteration), Response, made_by=f"dvc repro score_beams@{iteration}"),
            asked,
            parser,
        )

    return judge
