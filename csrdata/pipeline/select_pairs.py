"""Wiring of `select_pairs`: whole answers with their rewards in; a pair per prompt, or the reason for none, out."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from csrdata import paths
from csrdata.params import Params
from csrdata.records import Dropped, DropReason, Fate, Pair, Prompt, Response, Sentence
from csrdata.search.pairs import balance, refused, select
from csrdata.storage.tables import from_table, read_rows, read_table, write_json, write_rows


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
    without = [prompt.prompt_id for prompt in prompts if prompt.prompt_id not in answers]
    reasons = _refused(name) if without else {}
    outcomes = [
        reasons.get(prompt.prompt_id)
        or select(
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


def _refused(name: str) -> dict[str, Dropped]:
    """Return the prompts that the policy of iteration `name`'s search could not take, by their ids."""
    table = read_table(paths.candidates(name), Sentence, made_by=f"dvc repro generate_beams@{name}")
    rows = from_table(table.filter(fate=Fate.REFUSED.value), Sentence)
    return {row.prompt_id: refused(row) for row in rows}


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
