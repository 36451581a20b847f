"""The rendered prompts of a project: written once, when prompts are sampled; read by search, training and evaluation."""

from collections.abc import Iterable

from csrdata import paths
from csrdata.pipeline.inputs import need_policy
from csrdata.records import Prompt, Question, Wording
from csrdata.storage.tables import read_rows, write_rows


def write_wordings(asked: Iterable[Prompt | Question]) -> None:
    """Render each instruction once, by the base policy's chat template, and write the table.

    Raises:
        UserError: the base has no usable chat template, or an instruction spells out one of its special tokens.
    """
    from csrdata.policy.loading import load_processor
    from csrdata.policy.prompting import check_tokens, render_prompt

    named = {one.text: one for one in asked}
    processor = load_processor(need_policy(paths.BASE))
    check_tokens(processor, ((_name(one), text) for text, one in named.items()))
    rows = [Wording(text, render_prompt(processor, text)) for text in sorted(named)]
    write_rows(paths.WORDINGS, rows, Wording)


def read_wordings() -> dict[str, str]:
    """Return the rendered prompts by their instruction."""
    rows = read_rows(paths.WORDINGS, Wording, made_by="dvc repro sample_prompts")
    return {row.text: row.rendered for row in rows}


def _name(one: Prompt | Question) -> str:
    return f"prompt {one.prompt_id}" if isinstance(one, Prompt) else f"question {one.question_id}"
