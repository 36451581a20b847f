"""Wiring of `select_pairs`: the search's tables in; pairs for each prompt, or the reason for none, out.

`make_pairs` alone chooses the way to make pairs. Another way is a case there, a section in `csrdata.sections`, and a module
with `make(prompts, settings, *, params, name)`, which gives every prompt a `Pair` or more, or one `Dropped`.
"""

from collections import Counter
from collections.abc import Sequence

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.curation import curated
from csrdata.records import Dropped, DropReason, Fate, ImageFile, Pair, Prompt, Sentence
from csrdata.search.pairs import Form, Outcome, form, refused
from csrdata.sections.method import AnyPairs
from csrdata.storage.shard_manifest import check_names
from csrdata.storage.tables import from_table, read_rows, read_table, write_json, write_rows

MEANS = ("margin", "chosen_reward", "rejected_reward", "chosen_words", "rejected_words")
"""Fields of `PairScores` whose means are metrics."""


def run(params: Params, name: str) -> None:
    """Select the pairs of iteration `name`."""
    paths.pair_images(name).unlink(missing_ok=True)
    match params.select_pairs.kind:
        case "imported":  # they bring their own prompts and images
            from csrdata.pipeline import imported_pairs

            outcomes = make_pairs((), params.select_pairs, params=params, name=name)
            images = imported_pairs.images(params.select_pairs, params=params)
            write_rows(paths.pair_images(name), images, ImageFile)
        case _:
            outcomes = _of_the_search(params, name)
    outcomes, removed = curated(outcomes, params.select_pairs.curation, name=name)
    pairs = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    write_rows(paths.pairs(name), pairs, Pair)
    write_rows(paths.dropped(name), sorted(dropped, key=lambda row: row.prompt_id), Dropped)
    curation = {} if params.select_pairs.curation is None else {"curated": removed}
    write_json(paths.stage_metrics("select_pairs", name), _metrics(pairs, dropped) | curation)


def _of_the_search(params: Params, name: str) -> list[Outcome]:
    """Return the outcome of every sampled prompt, those that the policy could not take included."""
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    reasons = _refused(name)
    taken = [prompt for prompt in prompts if prompt.prompt_id not in reasons]
    return [*reasons.values(), *make_pairs(taken, params.select_pairs, params=params, name=name)]


def make_pairs(prompts: Sequence[Prompt], settings: AnyPairs, *, params: Params, name: str) -> list[Outcome]:
    """Return the pairs of iteration `name` by the way that `kind` names, or the reasons for none.

    Args:
        prompts: those that the policy could take.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file.
        name: the iteration.

    Returns:
        For every prompt, in their order: pairs numbered from 0, or one reason. Imported pairs bring their own prompts.
    """
    match settings.kind:
        case "answers":
            from csrdata.pipeline import answer_pairs

            return answer_pairs.make(prompts, settings, params=params, name=name)
        case "sentences":
            from csrdata.pipeline import sentence_pairs

            return sentence_pairs.make(prompts, settings, params=params, name=name)
        case "mixed":
            from csrdata.search import mixed_pairs

            parts = [
                (part.kind, make_pairs(prompts, part, params=params, name=name)) for part in settings.parts
            ]
            return mixed_pairs.make(prompts, parts)
        case "judged":
            from csrdata.pipeline import judged_pairs

            return judged_pairs.make(prompts, settings, params=params, name=name)
        case "corrupted":
            from csrdata.pipeline import corrupted_pairs

            return corrupted_pairs.make(prompts, settings, params=params, name=name)
        case "imported":
            from csrdata.pipeline import imported_pairs

            return imported_pairs.make(prompts, settings, params=params, name=name)


def _refused(name: str) -> dict[str, Dropped]:
    """Return the prompts that the policy of iteration `name`'s search could not take, by their ids."""
    made_by = f"dvc repro generate_beams@{name}"
    found: dict[str, Dropped] = {}
    for file in check_names(paths.candidates(name), made_by=made_by).names():
        table = read_table(paths.candidates(name) / file, Sentence, made_by=made_by)
        rows = from_table(table.filter(fate=Fate.REFUSED.value), Sentence)
        found |= {row.prompt_id: refused(row) for row in rows}
    return found


def _metrics(pairs: Sequence[Pair], dropped: Sequence[Dropped]) -> dict[str, object]:
    """Return figures of the pairs for `dvc metrics show`; a mean over nothing is null.

    Margins of different origins are on different scales: `by_origin` has the mean of each, and the mean of all is null if
    there are several.
    """
    reasons = Counter(row.reason for row in dropped)
    forms = Counter(form(pair) for pair in pairs)
    origins = {origin: [pair for pair in pairs if pair.origin == origin] for origin in _origins(pairs)}
    with_pairs = len({pair.prompt_id for pair in pairs})
    means = {f"mean_{field}": _mean(pairs, field) for field in MEANS}
    if len(origins) > 1:
        means["mean_margin"] = None
    return {
        "prompts": with_pairs + len(dropped),
        "with_pairs": with_pairs,
        "kept": len(pairs),
        "dropped": {reason.value: reasons[reason.value] for reason in DropReason},
        "by_form": {each.value: forms[each] for each in Form},
        "by_origin": {
            origin: {"pairs": len(own), "mean_margin": _mean(own, "margin")}
            for origin, own in origins.items()
        },
        **means,
    }


def _origins(pairs: Sequence[Pair]) -> list[str]:
    return sorted({pair.origin for pair in pairs})


def _mean(pairs: Sequence[Pair], field: str) -> float | None:
    """Return the mean of a score over the pairs that have it; None without any."""
    values = [value for pair in pairs if (value := getattr(pair.scores, field)) is not None]
    return sum(values) / len(values) if values else None
