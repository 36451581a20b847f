"""Wiring of `sample_prompts`: the source in; prompts, their wordings, evaluation questions and the truth out."""

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.pipeline.wordings import write_wordings
from csrdata.records import Prompt, Question, Truth
from csrdata.storage.tables import write_rows


def run(params: Params) -> None:
    """Sample what every iteration is asked, and what every policy is asked for evaluation."""
    settings, source = params.sample_prompts, open_source(params.source)
    prompts = source.prompts(count=settings.prompts, seed=settings.seed)
    questions = source.questions(per_image=settings.questions_per_image, seed=settings.seed)
    truths = source.truths()
    write_wordings([*prompts, *questions])
    write_rows(paths.PROMPTS, prompts, Prompt)
    write_rows(paths.QUESTIONS, questions, Question)
    write_rows(paths.TRUTH, truths, Truth)
