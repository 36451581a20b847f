"""Wiring of `csrdata export`: an iteration's pairs in, a folder for another trainer out."""

from collections.abc import Callable
from pathlib import Path

from csrdata import paths
from csrdata.errors import UserError
from csrdata.pipeline.inputs import need_policy
from csrdata.pipeline.looking import images_root
from csrdata.pipeline.wordings import read_wordings
from csrdata.publishing.export.formats import FORMATS, Texts
from csrdata.publishing.export.writing import Exported, continues, export
from csrdata.records import Pair
from csrdata.storage.tables import read_rows


def export_pairs(folder: Path, *, to: str, iteration: str) -> Exported:
    """Write the pairs of an iteration in a trainer's format.

    Pairs that continue an answer become plain text with the chat template of the base policy, which is loaded without its
    weights.

    Args:
        folder: new or empty.
        to: the trainer.
        iteration: the name of the iteration.

    Raises:
        UserError: see `csrdata.publishing.export.writing.export`; or TRL would read a pair as other tokens than were
            generated.
    """
    pairs = read_rows(paths.pairs(iteration), Pair, made_by=f"dvc repro select_pairs@{iteration}")
    needed = to in FORMATS and FORMATS[to].text_row is not None and any(map(continues, pairs))
    return export(
        pairs,
        to=to,
        folder=folder,
        root=images_root(),
        name=f"csrdata_iteration_{iteration}",
        as_texts=plain_text(iteration) if needed else None,
    )


def plain_text(iteration: str) -> Callable[[Pair], Texts]:
    """Return what turns a pair into plain text for the base policy and the policies trained from it."""
    from csrdata.policy.loading import load_processor
    from csrdata.policy.prompting import completion_text, render_prompt, text_ids
    from csrdata.policy.sides import BOTH, place_of, side_of

    processor = load_processor(need_policy(paths.BASE))
    wordings = read_wordings(paths.WORDINGS)

    def as_texts(pair: Pair) -> Texts:
        prompt = wordings.get(pair.prompt) or render_prompt(processor, pair.prompt)
        context = text_ids(processor, pair.context)
        read_alike = text_ids(processor, prompt + pair.context) == text_ids(processor, prompt) + context
        written = {}
        for name in BOTH:
            side = side_of(pair, name)
            text = completion_text(processor, side.text, end=side.end, complete=side.complete)
            written[name] = text
            read_alike &= text_ids(processor, pair.context + text) == context + text_ids(processor, text)
        if not read_alike:
            raise UserError(
                place_of(pair),
                got="other tokens than were generated, where TRL reads the prompt with the begun answer and its "
                "continuation as two texts",
                expected="a tokenizer that reads both texts alike",
                do=f"train here, where a begun answer is read as one text: dvc repro train_dpo@{iteration}",
            )
        return Texts(prompt + pair.context, **written)

    return as_texts
