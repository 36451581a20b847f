"""Wiring of `evaluate_policy`: a policy and the questions in, its answers and their metrics out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from csrdata import paths
from csrdata.entry import say
from csrdata.evaluation.mentions import AbsentMention, absent_mentions
from csrdata.evaluation.record import describe_evaluation
from csrdata.evaluation.scorecard import check_questions, scorecards
from csrdata.evaluation_sets.base import Asked
from csrdata.images import ImageRoot
from csrdata.params import Params
from csrdata.pipeline.inputs import need_images, need_policy, need_scorer, read_left_out
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import asks_the_policy, open_scorer
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import known_truth
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Answer, Question, Truth
from csrdata.sections.scorers import scorer_folder
from csrdata.storage.tables import atomic_file, read_rows, write_json, write_rows

if TYPE_CHECKING:
    from csrdata.policy.answering import Reply
    from csrdata.policy.loading import Policy
    from csrdata.relevance.base import Scorer


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
    tokens, decoding = params.evaluate_policy.max_new_tokens, params.evaluate_policy.decoding
    left_out = read_left_out()
    record = describe_evaluation(
        questions, known, left_out=left_out, max_new_tokens=tokens, decoding=decoding
    ).as_json()
    write_rows(paths.answers(name), answers, Answer)
    _write_mentions(paths.absent_mentions(name), absent_mentions(questions, answers, known))
    write_json(paths.evaluation_record(name), record)
    values = {split: card.values() for split, card in cards.items()}
    write_json(
        paths.stage_metrics("evaluate_policy", name), {"max_new_tokens": tokens, "record": record, **values}
    )


def _answer(params: Params, name: str, questions: list[Question]) -> list[Answer]:
    wordings = read_wordings(paths.QUESTION_WORDINGS)
    images = need_images(params, (question.image for question in questions), listed=paths.QUESTION_IMAGES)
    return answer_questions(params, name, questions, images=images, wordings=wordings)


def answer_questions(
    params: Params,
    name: str,
    questions: Sequence[Question],
    *,
    images: ImageRoot,
    wordings: Mapping[str, str],
) -> list[Answer]:
    """Load a policy, the base and the scorers, and answer one question or more; return the answers in the same order.

    Args:
        params: all parameters.
        name: "base" or the name of an iteration.
        questions: in any order.
        images: those of the questions.
        wordings: the rendered prompts of the questions, by their instruction.

    Raises:
        UserError: a model or an image is missing or damaged.
    """
    from csrdata.evaluation.answers import evaluation_answers
    from csrdata.policy.loading import base_in_place_of, load_policy

    settings, compute = params.evaluate_policy, params.compute
    policy = load_policy(need_policy(name), device=compute.device, dtype=compute.dtype, wordings=wordings)
    search, held_out = params.scorers.search, params.scorers.held_out
    need_scorer(scorer_folder(search, role="search"))
    if held_out is not None:
        need_scorer(scorer_folder(held_out, role="held_out"))
    # A self-check asks the base, so that one judge scores the answers of all policies.
    base = cache(partial(base_in_place_of, policy, paths.policy(paths.BASE)))
    scorers = (
        open_scorer(params, "search", device=compute.device, policy=base),
        None if held_out is None else open_scorer(params, "held_out", device=compute.device, policy=base),
    )
    guide = scorers[0]
    if asks_the_policy(params.scorers, "search"):  # the search asks its own policy, not the base
        guide = open_scorer(params, "search", device=compute.device, policy=lambda: policy)
    return evaluation_answers(
        policy,
        base,
        scorers,
        questions,
        root=images,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        search=_search(params, policy, guide, images),
    )


def _search(
    params: Params, policy: "Policy", scorer: "Scorer", images: ImageRoot
) -> "Callable[[Sequence[Question]], Mapping[str, Reply]] | None":
    """Return what searches answers to descriptions; None where they are greedy."""
    match params.evaluate_policy.decoding:
        case "greedy":
            return None
        case "search":
            from csrdata.pipeline.searching import search_answers

            return partial(search_answers, params, policy, scorer, root=images)


def _write_mentions(path: Path, mentions: Sequence[AbsentMention]) -> None:
    """Write the mentions as CSV, one per line; without any, the names of the columns alone."""
    columns = [field.name for field in fields(AbsentMention)]
    table = pl.DataFrame([asdict(one) for one in mentions], schema=columns, infer_schema_length=None)
    with atomic_file(path) as partial_file:
        partial_file.write_text(table.write_csv(), encoding="utf-8")
