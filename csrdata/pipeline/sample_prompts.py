"""Wiring of `sample_prompts`: the drawn scenes in; prompts, evaluation questions and the truth out."""

from csrdata import paths
from csrdata.params import Params
from csrdata.records import Prompt, Question, Truth
from csrdata.storage.tables import write_rows


def run(params: Params) -> None:
    """Sample what every iteration is asked, and what every policy is asked for evaluation."""
    from csrdata.sources.microworld import sampling

    settings = params.sample_prompts
    pictures = sampling.read_pictures(paths.SCENES / "scenes.parquet", made_by="dvc repro prepare")
    prompts = sampling.sample_prompts(pictures, count=settings.prompts, seed=settings.seed)
    questions = sampling.sample_questions(
        pictures, per_image=settings.questions_per_image, seed=settings.seed
    )
    write_rows(paths.PROMPTS, prompts, Prompt)
    write_rows(paths.QUESTIONS, questions, Question)
    write_rows(paths.TRUTH, sampling.truths(pictures), Truth)
