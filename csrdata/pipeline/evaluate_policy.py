"""Wiring of `evaluate_policy`: a policy and the questions in, its greedy answers and their figures out."""

from functools import partial
from pathlib import Path

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.inputs import need_images, need_policy, need_scorer
from csrdata.pipeline.runtime import set_up_process
from csrdata.pipeline.scorers import open_scorer, scorer_folder
from csrdata.pipeline.source import claim_parser
from csrdata.records import Answer, Question, Truth
from csrdata.storage.tables import read_rows, write_json, write_rows


def run(params: Params, name: str) -> None:
    """Evaluate the base (`name` is "base") or the policy of iteration `name`."""
    set_up_process(params.compute)
    from csrdata.evaluation.answers import evaluation_answers
    from csrdata.evaluation.scorecard import scorecards
    from csrdata.policy.loading import load_policy, without_adapters

    settings, compute = params.evaluate_policy, params.compute
    questions = read_rows(paths.QUESTIONS, Question, made_by="dvc repro sample_prompts")
    truths = read_rows(paths.TRUTH, Truth, made_by="dvc repro sample_prompts")
    need_images(question.image for question in questions)
    policy = load_policy(need_policy(name), device=compute.device, dtype=compute.dtype)
    for one in (params.scorers.search, params.scorers.held_out):
        need_scorer(scorer_folder(one))
    search_scorer, held_out = (
        open_scorer(one, device=compute.device) for one in (params.scorers.search, params.scorers.held_out)
    )
    answers = evaluation_answers(
        policy, partial(without_adapters, policy), (search_scorer, held_out), questions, root=Path(), **settings.model_dump()
    )
    cards = scorecards(
        questions,
        answers,
        {truth.image: truth for truth in truths},
        claim_parser(params.source),
        made_by="dvc repro",
    )
    write_rows(paths.answers(name), answers, Answer)
    values = {split: card.values() for split, card in cards.items()}
    write_json(
        paths.stage_metrics("evaluate_policy", name), {"max_new_tokens": settings.max_new_tokens, **values}
    )
