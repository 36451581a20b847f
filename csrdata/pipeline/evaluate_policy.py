"""Wiring of `evaluate_policy`: a policy and the questions in, its greedy answers and their metrics out."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import polars as pl

from csrdata import paths
from csrdata.entry import say
from csrdata.evaluation.mentions import AbsentMention, absent_mentions
from csrdata.evaluation.record import describe_evaluation
from csrdata.evaluation.scorecard import check_questions, scorecards
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.inputs import need_images, need_policy, need_scorer
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import open_scorer, scorer_folder
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Answer, LeftOut, Question, Truth
from csrdata.storage.tables import atomic_file, read_rows, write_json, write_rows


def run(params: Params, name: str) -> None:
    """Evaluate a policy on all evaluation questions.

    Args:
        params: all parameters.
        name: "base" or the name of an iteration.

    Raises:
        UserError: an input is missing or damaged.
    """
    set_up_process(params.compute)
    questions = read_rows(paths.QUESTIONS, Question, made_by="dvc repro sample_prompts")
    truths = read_rows(paths.TRUTH, Truth, made_by="dvc repro sample_prompts")
    known = known_truth(params.evaluation_sets, open_source(params.source), Asked(questions, truths))
    check_questions(questions, known)
    if not questions:
        say("there are no evaluation questions: no policy answers any (params.yaml: evaluation_sets)")
    answers = _answer(params, name, questions) if questions else []
    cards = scorecards(questions, answers, known, made_by="dvc repro")
    tokens = params.evaluate_policy.max_new_tokens
    left_out = read_rows(paths.LEFT_OUT, LeftOut, made_by="dvc repro sample_prompts")
    record = describe_evaluation(questions, known, left_out=left_out, max_new_tokens=tokens).as_json()
    write_rows(paths.answers(name), answers, Answer)
    _write_mentions(paths.absent_mentions(name), absent_mentions(questions, answers, known))
    write_json(paths.evaluation_record(name), record)
    values = {split: card.values() for split, card in cards.items()}
    write_json(
        paths.stage_metrics("evaluate_policy", name), {"max_new_tokens": tokens, "record": record, **values}
    )


def _answer(params: Params, name: str, questions: list[Question]) -> list[Answer]:
    """Load the policy, the base and the scorers, and answer one question or more."""
    from csrdata.evaluation.answers import evaluation_answers
    from csrdata.policy.loading import base_in_place_of, load_policy

    settings, compute = params.evaluate_policy, params.compute
    wordings = read_wordings(paths.QUESTION_WORDINGS)
    images = need_images(params, (question.image for question in questions), listed=paths.QUESTION_IMAGES)
    policy = load_policy(need_policy(name), device=compute.device, dtype=compute.dtype, wordings=wordings)
    search, held_out = params.scorers.search, params.scorers.held_out
    need_scorer(scorer_folder(search, role="search"))
    if held_out is not None:
        need_scorer(scorer_folder(held_out, role="held_out"))
    scorers = (
        open_scorer(search, role="search", device=compute.device),
        None if held_out is None else open_scorer(held_out, role="held_out", device=compute.device),
    )
    return evaluation_answers(
        policy,
        partial(base_in_place_of, policy, paths.policy(paths.BASE)),
        scorers,
        questions,
        root=images,
        **settings.model_dump(),
    )


def _write_mentions(path: Path, mentions: Sequence[AbsentMention]) -> None:
    """Write the mentions as CSV, one per line; without any, the names of the columns alone."""
    columns = [field.name for field in fields(AbsentMention)]
    table = pl.DataFrame([asdict(one) for one in mentions], schema=columns, infer_schema_length=None)
    with atomic_file(path) as partial_file:
        partial_file.write_text(table.write_csv(), encoding="utf-8")
