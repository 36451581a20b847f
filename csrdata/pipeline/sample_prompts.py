"""Wiring of `sample_prompts`: a source in; training prompts, evaluation questions and truth out."""

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.records import Prompt, Question, Truth
from csrdata.storage.tables import write_rows


def run(params: Params) -> None:
    """Sample the training prompts of all iterations, and the evaluation questions of all policies."""
    settings, source = params.sample_prompts, open_source(params.source)
    prompts = source.prompts(count=settings.prompts, seed=settings.seed)
    questions = source.questions(per_image=settings.questions_per_image, seed=settings.seed)
    truths = source.truths()
    write_rows(paths.PROMPTS, prompts, Prompt)
    write_rows(paths.QUESTIONS, questions, Question)
    write_rows(paths.TRUTH, truths, Truth)
