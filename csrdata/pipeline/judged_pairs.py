"""Wiring of judged pairs: the answers of the search and the policy's verdicts in, pairs or reasons out."""

from collections.abc import Sequence

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.batches import Select
from csrdata.records import Prompt, Response, Verdict
from csrdata.search.judged_pairs import judged
from csrdata.search.pairs import Outcome
from csrdata.sections.method import JudgedPairs
from csrdata.storage.shard_ranges import ShardRanges
from csrdata.storage.tables import read_rows


def selector(prompts: Sequence[Prompt], settings: JudgedPairs, *, params: Params, name: str) -> Select:
    """Return what selects pairs of iteration `name` from the policy's verdicts.

    Args:
        prompts: all that the policy could take; not used.
        settings: the section `select_pairs`; it has no keys besides `kind`.
        params: the whole file; not used.
        name: the iteration.
    """
    del prompts, settings, params
    answers = ShardRanges(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    verdicts = {
        row.prompt_id: row
        for row in read_rows(paths.verdicts(name), Verdict, made_by=f"dvc repro judge_answers@{name}")
    }

    def select(some: Sequence[Prompt]) -> list[Outcome]:
        own = answers.by_prompt(some[0].prompt_id, some[-1].prompt_id)
        rows = [row for rows in own.values() for row in rows]
        said = [verdicts[one.prompt_id] for one in some if one.prompt_id in verdicts]
        return [*judged(some, rows, said)]

    return select
