"""Wiring of `select_pairs`: the search's tables in; pairs for each prompt, or the reason for none, out.

`selector` alone chooses the way to make pairs. Another way is a case there, a section in `csrdata.sections`, and a module
with `selector(prompts, settings, *, params, name)`, which returns a function: it gives every prompt of a batch a `Pair` or
more, or one `Dropped`. Batches are read, selected and turned into a table one after the other, so that memory grows with the
pairs that are written, not with the answers that are read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from csrdata import paths
from csrdata.params import Params
from csrdata.pipeline.batches import Select, batches
from csrdata.pipeline.curation import curation
from csrdata.records import Dropped, DropReason, Fate, ImageFile, Pair, Prompt, Sentence
from csrdata.search.pairs import Form, Outcome, form, refused
from csrdata.sections.method import AnyPairs
from csrdata.storage.dropped import lost_prompts
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import (
    check_schema,
    from_table,
    read_parquet,
    read_rows,
    schema,
    to_table,
    write_json,
    write_rows,
    write_table,
)

MEANS = ("margin", "chosen_reward", "rejected_reward", "chosen_words", "rejected_words")
"""Fields of `PairScores` whose means are metrics."""


@dataclass
class _Selected:
    """What is selected so far: pairs as tables, which take a tenth of the memory of records."""

    tables: list[pl.DataFrame] = field(default_factory=lambda: [to_table([], Pair)])
    dropped: list[Dropped] = field(default_factory=list)
    forms: Counter[Form] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        pairs = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
        self.tables.append(to_table(pairs, Pair))
        self.dropped += [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
        self.forms.update(form(pair) for pair in pairs)


def run(params: Params, name: str) -> None:
    """Select the pairs of iteration `name`."""
    paths.pair_images(name).unlink(missing_ok=True)
    match params.select_pairs.kind:
        case "imported":  # they bring their own prompts and images
            from csrdata.pipeline import imported_pairs

            images = imported_pairs.images(params.select_pairs, params=params)
            write_rows(paths.pair_images(name), images, ImageFile)
            select = selector((), params.select_pairs, params=params, name=name)
            found = _selected(iter([select(())]), params, name)
        case _:
            found = _selected(_of_the_search(params, name), params, name)
    pairs = pl.concat(found.tables, rechunk=True)
    found.tables.clear()
    write_table(paths.pairs(name), pairs)
    write_rows(paths.dropped(name), sorted(found.dropped, key=lambda row: row.prompt_id), Dropped)
    figures = _metrics(pairs, to_table(found.dropped, Dropped), found.forms)
    if params.select_pairs.curation is not None:
        figures["curated"] = dict(found.removed)
    write_json(paths.stage_metrics("select_pairs", name), figures)


def _selected(outcomes: Iterator[list[Outcome]], params: Params, name: str) -> _Selected:
    """Return what is left of the outcomes of all batches after the curation."""
    curate = curation(params.select_pairs.curation, name=name)
    found = _Selected()
    for some in outcomes:
        staying, removed = curate(some)
        found.add(staying)
        found.removed.update(removed)
    return found


def _of_the_search(params: Params, name: str) -> Iterator[list[Outcome]]:
    """Yield the outcomes of every sampled prompt, those that the policy could not take first."""
    prompts = read_rows(paths.PROMPTS, Prompt, made_by="dvc repro sample_prompts")
    reasons = _refused(name)
    yield list(reasons.values())
    taken = [prompt for prompt in prompts if prompt.prompt_id not in reasons]
    select = selector(taken, params.select_pairs, params=params, name=name)
    for some in batches(taken):
        yield select(some)


def selector(  # noqa: PLR0911 - one for each kind
    prompts: Sequence[Prompt], settings: AnyPairs, *, params: Params, name: str
) -> Select:
    """Return what selects the pairs of iteration `name` by the way that `kind` names.

    Args:
        prompts: all that the policy could take.
        settings: the section `select_pairs`, or a part of it.
        params: the whole file.
        name: the iteration.

    Returns:
        A function of some of the prompts. It returns for each, in their order, pairs numbered from 0 or one reason. Imported
        pairs bring their own prompts.
    """
    match settings.kind:
        case "answers":
            from csrdata.pipeline import answer_pairs

            return answer_pairs.selector(prompts, settings, params=params, name=name)
        case "ranked":
            from csrdata.pipeline import ranked_pairs

            return ranked_pairs.selector(prompts, settings, params=params, name=name)
        case "sentences":
            from csrdata.pipeline import sentence_pairs

            return sentence_pairs.selector(prompts, settings, params=params, name=name)
        case "mixed":
            from csrdata.search import mixed_pairs

            parts = [
                (part.kind, selector(prompts, part, params=params, name=name)) for part in settings.parts
            ]
            return lambda some: mixed_pairs.make(some, [(kind, select(some)) for kind, select in parts])
        case "judged":
            from csrdata.pipeline import judged_pairs

            return judged_pairs.selector(prompts, settings, params=params, name=name)
        case "corrupted":
            from csrdata.pipeline import corrupted_pairs

            return corrupted_pairs.selector(prompts, settings, params=params, name=name)
        case "imported":
            from csrdata.pipeline import imported_pairs

            return imported_pairs.selector(prompts, settings, params=params, name=name)


def _refused(name: str) -> dict[str, Dropped]:
    """Return the prompts that the policy of iteration `name`'s search could not take, by their ids."""
    made_by = f"dvc repro generate_beams@{name}"
    found: dict[str, Dropped] = {}
    for file in check_shards(paths.candidates(name), made_by=made_by).names():
        path = paths.candidates(name) / file
        check_schema(
            read_parquet(path, made_by=made_by, n_rows=0), schema(Sentence), place=str(path), made_by=made_by
        )
        table = pl.scan_parquet(path).filter(fate=Fate.REFUSED.value).collect()
        found |= {row.prompt_id: refused(row) for row in from_table(table, Sentence)}
    return found


def _metrics(pairs: pl.DataFrame, dropped: pl.DataFrame, forms: Counter[Form]) -> dict[str, object]:
    """Return figures of the pairs for `dvc metrics show`; a mean over nothing is null.

    Margins of different origins are on different scales: `by_origin` has the mean of each, and the mean of all is null if
    there are several.
    """
    lost = lost_prompts(dropped.lazy(), pairs.lazy()).collect()
    reasons = Counter(lost["reason"].to_list())
    origins = {origin: pairs.filter(origin=origin) for origin in sorted(pairs["origin"].unique())}
    with_pairs = pairs["prompt_id"].n_unique()
    means = {f"mean_{field}": _mean(pairs, field) for field in MEANS}
    if len(origins) > 1:
        means["mean_margin"] = None
    return {
        "prompts": with_pairs + len(lost),
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


def _mean(pairs: pl.DataFrame, field: str) -> float | None:
    """Return the mean of a score over the pairs that have it; None without any."""
    values = pairs[field].drop_nulls().to_list()
    return sum(values) / len(values) if values else None
