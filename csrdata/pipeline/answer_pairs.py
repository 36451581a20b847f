"""Wiring of pairs of whole answers: the answers of the search in, pairs or reasons out."""

from collections.abc import Sequence
from itertools import groupby

from csrdata import paths
from csrdata.params import Params
from csrdata.records import Prompt, Response
from csrdata.search import answer_pairs
from csrdata.search.pairs import CountClaims, Outcome
from csrdata.sections.method import AnswerPairs
from csrdata.storage.tables import read_rows


def make(prompts: Sequence[Prompt], settings: AnswerPairs, *, params: Params, name: str) -> list[Outcome]:
    """Return the pairs of iteration `name` from whole answers.

    Args:
        prompts: those that the policy could take.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file.
        name: the iteration.
    """
    rows = read_rows(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    by_prompt = groupby(sorted(rows, key=lambda row: row.prompt_id), key=lambda row: row.prompt_id)
    return answer_pairs.make(
        prompts,
        {prompt_id: list(group) for prompt_id, group in by_prompt},
        **settings.model_dump(exclude={"curation", "kind"}),
        claims=_claims(settings, params, prompts),
    )


def _claims(settings: AnswerPairs, params: Params, prompts: Sequence[Prompt]) -> CountClaims | None:
    match settings.order:
        case "truth":
            from csrdata.pipeline.oracle import count_claims

            return count_claims(params, prompts)
    return None
