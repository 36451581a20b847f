"""Wiring of `sample_prompts`: a source in; training prompts, their wordings, evaluation questions and truth out."""

from pathlib import Path

from csrdata import paths
from csrdata.evaluation_sets.base import Asked
from csrdata.params import Params
from csrdata.pipeline.evaluation_sets import add_evaluation_sets
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import write_wordings
from csrdata.records import Prompt, Question, Truth
from csrdata.storage.tables import write_rows


def run(params: Params) -> None:
    """Sample the training prompts of all iterations, and the evaluation questions of all policies."""
    settings, source = params.sample_prompts, open_source(params.source)
    prompts = source.prompts(count=settings.prompts, seed=settings.seed)
    questions = source.questions(per_image=settings.questions_per_image, seed=settings.seed)
    asked = Asked(questions, source.truths())
    asked = add_evaluation_sets(params.evaluation_sets, source, asked, training=prompts, images=Path())
    write_wordings(prompts, asked.questions)
    write_rows(paths.PROMPTS, prompts, Prompt)
    write_rows(paths.QUESTIONS, asked.questions, Question)
    write_rows(paths.TRUTH, asked.truths, Truth)
