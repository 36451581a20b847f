"""Wiring of pairs of whole answers: the answers of the search in, pairs or reasons out."""

from collections.abc import Sequence

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.batches import Select, batches
from csrdata.records import Prompt, Response
from csrdata.search import answer_pairs
from csrdata.search.balance import Key, gaps, leave_out, to_leave_out
from csrdata.search.pairs import CountClaims, Outcome
from csrdata.sections.method import AnswerPairs
from csrdata.storage.shard_ranges import ShardRanges


def selector(prompts: Sequence[Prompt], settings: AnswerPairs, *, params: Params, name: str) -> Select:
    """Return what selects pairs of iteration `name` from whole answers.

    The balance in length is one of all pairs: with it, the answers are read twice.

    Args:
        prompts: all that the policy could take.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file.
        name: the iteration.
    """
    answers = ShardRanges(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    claims = _claims(settings, params, prompts)

    def select(some: Sequence[Prompt]) -> list[Outcome]:
        return answer_pairs.make(
            some,
            answers.by_prompt(some[0].prompt_id, some[-1].prompt_id),
            **settings.model_dump(exclude={"curation", "kind", "length_balance"}),
            claims=claims,
        )

    if settings.length_balance is None:
        return select
    words: dict[Key, int] = {}
    for some in batches(prompts):
        words |= gaps(select(some))
    left_out = to_leave_out(words, tolerance=settings.length_balance, seed=settings.seed)
    return lambda some: leave_out(select(some), left_out)


def _claims(settings: AnswerPairs, params: Params, prompts: Sequence[Prompt]) -> CountClaims | None:
    match settings.order:
        case "truth":
            from csrdata.pipeline.oracle import count_claims

            return count_claims(params, prompts)
    return None
