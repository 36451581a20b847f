"""Wiring of pairs from ordered lists: the answers of the search in, pairs or reasons out."""

from collections.abc import Sequence

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.batches import Select
from csrdata.records import Prompt, Response
from csrdata.search import ranked_pairs
from csrdata.search.pairs import Outcome
from csrdata.sections.method import RankedPairs
from csrdata.storage.shard_ranges import ShardRanges


def selector(prompts: Sequence[Prompt], settings: RankedPairs, *, params: Params, name: str) -> Select:
    """Return what makes pairs of iteration `name` from lists of whole answers.

    Args:
        prompts: all that the policy could take; not used.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file; not used.
        name: the iteration.
    """
    del prompts, params
    answers = ShardRanges(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")

    def select(some: Sequence[Prompt]) -> list[Outcome]:
        own = answers.by_prompt(some[0].prompt_id, some[-1].prompt_id)
        return ranked_pairs.make(some, own, **settings.model_dump(exclude={"curation", "kind"}))

    return select
