"""Who knows what about the images: the source about its splits, each evaluation set about its own."""

from collections.abc import Iterable, Mapping, Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.scorecard import Known
from csrdata.evaluation_sets.base import Asked
from csrdata.pipeline.evaluation_sets import Sets, open_sets
from csrdata.records import Prompt, Truth
from csrdata.sources.base import Source


def known_truth(sets: Sets, source: Source, asked: Asked) -> dict[str, Known]:
    """Return what is known about the images of each split that has questions; a split without truth is left out.

    Args:
        sets: the section `evaluation_sets`; all other splits are the source's.
        source: the project's source.
        asked: the tables of questions and truth.
    """
    opened = open_sets(sets, source)
    own = source.claim_parser()
    parsers = {
        split: opened[split].claim_parser() if split in opened else own
        for split in dict.fromkeys(question.split for question in asked.questions)
    }
    by_split: dict[str, dict[str, Truth]] = {}
    for truth in asked.truths:
        by_split.setdefault(truth.split, {})[truth.image] = truth
    return {
        split: Known(by_split.get(split, {}), parser)
        for split, parser in parsers.items()
        if parser is not None
    }


def source_truths(sets: Sets, truths: Iterable[Truth]) -> dict[str, Truth]:
    """Return the source's truth by image; an evaluation set may know other things about the same image."""
    return {truth.image: truth for truth in truths if truth.split not in sets}


def truths_of(prompts: Sequence[Prompt], truths: Mapping[str, Truth], *, made_by: str) -> dict[str, Truth]:
    """Return the truth of each prompt's image, by the prompt's id.

    Raises:
        UserError: nothing is known of an image.
    """
    for prompt in prompts:
        if prompt.image not in truths:
            raise UserError(
                str(paths.TRUTH), got=f"no row for {prompt.image}", expected="one for each image", do=made_by
            )
    return {prompt.prompt_id: truths[prompt.image] for prompt in prompts}
