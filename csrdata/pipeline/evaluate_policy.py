"""Wiring of `evaluate_policy`: a policy and the questions in, its greedy answers and their metrics out."""

from functools import partial

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.inputs import need_images, need_policy, need_scorer
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import open_scorer, scorer_folder
from csrdata.pipeline.source import claim_parser
from csrdata.pipeline.wordings import read_wordings
from csrdata.records import Answer, Question, Truth
from csrdata.storage.tables import read_rows, write_json, write_rows


def run(params: Params, name: str) -> None:
    """Evaluate a policy on all evaluation questions.

    Args:
        params: all parameters.
        name: "base" or the name of an iteration.

    Raises:
        UserError: an input is missing or damaged.
    """
    set_up_process(params.compute)
    from csrdata.evaluation.answers import evaluation_answers
    from csrdata.evaluation.scorecard import check_questions, scorecards
    from csrdata.policy.loading import base_in_place_of, load_policy

    settings, compute, parser = params.evaluate_policy, params.compute, claim_parser(params.source)
    questions = read_rows(paths.QUESTIONS, Question, made_by="dvc repro sample_prompts")
    known = read_rows(paths.TRUTH, Truth, made_by="dvc repro sample_prompts")
    truths = {truth.image: truth for truth in known}
    check_questions(questions, truths)
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
    answers = evaluation_answers(
        policy,
        partial(base_in_place_of, policy, paths.policy(paths.BASE)),
        scorers,
        questions,
        root=images,
        **settings.model_dump(),
    )
    cards = scorecards(questions, answers, truths, parser, made_by="dvc repro")
    write_rows(paths.answers(name), answers, Answer)
    values = {split: card.values() for split, card in cards.items()}
    write_json(
        paths.stage_metrics("evaluate_policy", name), {"max_new_tokens": settings.max_new_tokens, **values}
    )
