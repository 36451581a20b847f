"""Wiring of judged pairs: the answers of the search and the policy's verdicts in, pairs or reasons out."""

from collections.abc import Sequence

from csrdata import paths
from csrdata.params import Params
from csrdata.records import Dropped, Pair, Prompt, Response, Verdict
from csrdata.search.judged_pairs import judged
from csrdata.sections.method import JudgedPairs
from csrdata.storage.tables import read_rows


def make(
    prompts: Sequence[Prompt], settings: JudgedPairs, *, params: Params, name: str
) -> list[Pair | Dropped]:
    """Return the pairs of iteration `name` from the policy's verdicts.

    Args:
        prompts: those that the policy could take.
        settings: the section `select_pairs`; it has no keys besides `kind`.
        params: the whole file; not used.
        name: the iteration.
    """
    del settings, params
    responses = read_rows(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    verdicts = read_rows(paths.verdicts(name), Verdict, made_by=f"dvc repro judge_answers@{name}")
    return judged(prompts, responses, verdicts)
