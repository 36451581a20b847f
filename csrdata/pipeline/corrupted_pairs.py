"""Wiring of corrupted pairs: the answers of the search and the source's rule in, pairs or reasons out."""

from collections.abc import Sequence
from itertools import groupby

from csrdata import paths
from csrdata.errors import UserError
from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.records import Prompt, Response
from csrdata.search import corrupted_pairs
from csrdata.search.pairs import Outcome
from csrdata.sections.method import CorruptedPairs
from csrdata.sources.base import Corruption
from csrdata.storage.tables import read_rows


def make(prompts: Sequence[Prompt], settings: CorruptedPairs, *, params: Params, name: str) -> list[Outcome]:
    """Return the pairs of iteration `name`: the best answer, and the same answer made false by the source's rule.

    Args:
        prompts: those that the policy could take.
        settings: the section `select_pairs`.
        params: the whole file.
        name: the iteration.

    Raises:
        UserError: the source has no such rule.
    """
    corrupt = rule(params)
    rows = read_rows(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    by_prompt = groupby(sorted(rows, key=lambda row: row.prompt_id), key=lambda row: row.prompt_id)
    answers = {prompt_id: list(group) for prompt_id, group in by_prompt}
    return corrupted_pairs.make(prompts, answers, corrupt=corrupt, seed=settings.seed)


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
