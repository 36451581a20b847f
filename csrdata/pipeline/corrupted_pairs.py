"""Wiring of corrupted pairs: the answers of the search and the source's rule in, pairs or reasons out."""

from collections.abc import Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.batches import Select
from csrdata.pipeline.source import open_source
from csrdata.records import Prompt, Response
from csrdata.search import corrupted_pairs
from csrdata.search.pairs import Outcome
from csrdata.sections.method import CorruptedPairs
from csrdata.sources.base import Corruption
from csrdata.storage.shard_ranges import ShardRanges


def selector(prompts: Sequence[Prompt], settings: CorruptedPairs, *, params: Params, name: str) -> Select:
    """Return what makes pairs of iteration `name`: the best answer, and the same answer made false by the source's rule.

    Args:
        prompts: all that the policy could take; not used.
        settings: the section `select_pairs`.
        params: the whole file.
        name: the iteration.

    Raises:
        UserError: the source has no such rule.
    """
    del prompts
    corrupt = rule(params)
    answers = ShardRanges(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")

    def select(some: Sequence[Prompt]) -> list[Outcome]:
        own = answers.by_prompt(some[0].prompt_id, some[-1].prompt_id)
        return corrupted_pairs.make(some, own, corrupt=corrupt, seed=settings.seed)

    return select


def rule(params: Params) -> Corruption:
    """Return the source's rule that makes an answer false.

    Raises:
        UserError: the source has no such rule.
    """
    corrupt = open_source(params.source).corruption()
    if corrupt is None:
        raise UserError(
            "params.yaml: select_pairs.kind",
            got=f"corrupted, and the source {params.source.kind}, which has no rule that makes an answer false",
            expected="another kind of pairs, such as answers",
            do="take another kind, or import such pairs: csrdata import --help",
        )
    return corrupt
