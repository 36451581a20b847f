"""The rendered prompts of a project: written once, when prompts are sampled; read by search, training and evaluation.

Prompts and questions have a table each, so that other questions run no search again.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from csrdata import paths
from csrdata.pipeline.inputs import need_policy
from csrdata.records import Prompt, Question, Wording
from csrdata.storage.tables import read_rows, write_rows


def write_wordings(prompts: Iterable[Prompt], questions: Iterable[Question]) -> None:
    """Render each instruction once, by the base policy's chat template, and write both tables.

    Raises:
        UserError: the base has no usable chat template, or an instruction spells out one of its special tokens.
    """
    asked = {prompt.text: f"prompt {prompt.prompt_id}" for prompt in prompts}
    evaluated = {question.text: f"question {question.question_id}" for question in questions}
    rendered = render_wordings(evaluated | asked)
    for path, texts in ((paths.WORDINGS, asked), (paths.QUESTION_WORDINGS, evaluated)):
        write_rows(path, [Wording(text, rendered[text]) for text in sorted(texts)], Wording)


def render_wordings(places: Mapping[str, str]) -> dict[str, str]:
    """Render instructions by the base policy's chat template; return the rendered prompts by instruction.

    Args:
        places: by instruction, the row that has it, for errors.

    Raises:
        UserError: see `write_wordings`.
    """
    from csrdata.policy.loading import load_processor
    from csrdata.policy.prompting import check_tokens, render_prompt

    processor = load_processor(need_policy(paths.BASE))
    check_tokens(processor, ((place, text) for text, place in places.items()))
    return {text: render_prompt(processor, text) for text in places}


def read_wordings(path: Path) -> dict[str, str]:
    """Return the rendered prompts of one of the two tables by their instruction."""
    rows = read_rows(path, Wording, made_by="dvc repro sample_prompts")
    return {row.text: row.rendered for row in rows}
