"""Wiring of `select_pairs`: whole answers with their rewards in; a pair per prompt, or the reason for none, out."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from csrdata import paths
from csrdata.params import Params
from csrdata.records import Dropped, DropReason, Pair, Prompt, Response
from csrdata.search.pairs import balance, select
from csrdata.storage.tables import read_rows, write_json, write_rows


def run(params: Params, name: str) -> None:
    """Select the pairs of iteration `name`."""
    settings = params.select_pairs
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    rows = read_rows(paths.responses(name), Response, made_by=f"dvc repro score_beams@{name}")
    answers = {
        prompt_id: list(group)
        for prompt_id, group in groupby(
            sorted(rows, key=lambda row: row.prompt_id), key=lambda row: row.prompt_id
        )
    }
    outcomes = [
        select(
            prompt,
            answers.get(prompt.prompt_id, []),
            margin=settings.margin,
            max_length_gap=settings.max_length_gap,
        )
        for prompt in prompts
    ]
    pairs, unbalancing = balance(
        [outcome for outcome in outcomes if isinstance(outcome, Pair)],
        tolerance=settings.length_balance,
        seed=settings.seed,
    )
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)] + unbalancing
    write_rows(paths.pairs(name), pairs, Pair)
    write_rows(paths.dropped(name), sorted(dropped, key=lambda row: row.prompt_id), Dropped)
    write_json(paths.stage_metrics("select_pairs", name), _metrics(pairs, dropped))


def _metrics(pairs: Sequence[Pair], dropped: Sequence[Dropped]) -> dict[str, object]:
    """Return figures of the pairs for `dvc metrics show`; means are null if there is no pair."""
    reasons = Counter(row.reason for row in dropped)
    means = ("margin", "chosen_reward", "rejected_reward", "chosen_words", "rejected_words")
    return {
        "prompts": len(pairs) + len(dropped),
        "kept": len(pairs),
        "dropped": {reason.value: reasons[reason.value] for reason in DropReason},
        **{
            f"mean_{field}": sum(getattr(pair.scores, field) for pair in pairs) / len(pairs)
            if pairs
            else None
            for field in means
        },
    }
