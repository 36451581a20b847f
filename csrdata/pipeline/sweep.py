"""Wiring of `csrdata sweep`: an iteration's candidates and signals in, what each setting would select out; no stage."""

import sys
from collections.abc import Collection, Iterator, Sequence

import polars as pl

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.truth_preference import false_share
from csrdata.inspection.sweep import BATCH, Searches, Setting, SweepRow, TruthOf, grid
from csrdata.inspection.sweep import sweep as figures_of
from csrdata.params import FILE, Params, load_params
from csrdata.pipeline.looking import iteration as chosen_iteration
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import source_truths
from csrdata.records import Fate, Prompt, Sentence, Signal, Truth
from csrdata.search.responses import SEARCH
from csrdata.search.reward import REWARD_SCALES, Aggregate
from csrdata.sections.method import AnswerPairs, AnyPairs
from csrdata.storage.shard_manifest import check_shards
from csrdata.storage.tables import from_table, read_rows, read_table

HELP = "csrdata sweep --help"
MOST_POINTS = 10_000
"""The most settings of one sweep."""
SAMPLED = "dvc repro sample_prompts"


def sweep(
    name: str | None,
    *,
    image_weights: str | None,
    scales: Sequence[str],
    aggregates: Sequence[str],
    margins: str | None,
) -> tuple[str, list[SweepRow]]:
    """Return the iteration, and a row for the present setting followed by one for each point of the grid.

    Args:
        name: the iteration; None means the last one with pairs.
        image_weights: `LOW:HIGH:STEP` or numbers with commas, 0..1; None means the present one.
        scales, aggregates: names; empty means the present one.
        margins: as `image_weights`, 0 or more.

    Raises:
        UserError: an option is invalid, or the iteration has no candidates.
    """
    params = load_params()
    name = chosen_iteration(name)
    rule = _rule(params.select_pairs)
    scoring = params.score_beams
    present = Setting(scoring.image_weight, scoring.scale, scoring.aggregate, rule.margin)
    settings = grid(
        image_weights=_numbers("--image-weight", image_weights, high=1.0) or [present.image_weight],
        scales=_names("--scale", scales, REWARD_SCALES) or [present.scale],
        aggregates=_names("--aggregate", aggregates, list(Aggregate)) or [present.aggregate],
        margins=_numbers("--margin", margins) or [present.margin],
    )
    if len(settings) > MOST_POINTS:
        raise UserError(
            "the grid", got=f"{len(settings):,} points", expected=f"at most {MOST_POINTS:,}", do=HELP
        )
    if rule not in _parts(params.select_pairs):
        sys.stderr.write(
            f"{FILE} makes other pairs ({params.select_pairs.kind}): "
            "these are of the best and the worst whole answer of a prompt, of any length\n"
        )
    return name, figures_of(
        _searches(name, signal=scoring.signal),
        [present, *(setting for setting in settings if setting != present)],
        present=present,
        repetition_threshold=scoring.repetition_threshold,
        max_length_gap=rule.max_length_gap,
        per_prompt=rule.per_prompt,
        false_share=_truth(params),
    )


def _rule(settings: AnyPairs) -> AnswerPairs:
    """Return the rule for pairs of whole answers: the project's, or, where it makes other pairs, any two answers."""
    for part in _parts(settings):
        if part.kind == "answers" and part.order == "reward":
            return part
    return AnswerPairs(
        kind="answers",
        order="reward",
        margin=0.0,
        max_length_gap=1.0,
        length_balance=None,
        per_prompt=1,
        seed=0,
    )


def _parts(settings: AnyPairs) -> Sequence[AnyPairs]:
    return settings.parts if settings.kind == "mixed" else [settings]


def _searches(name: str, *, signal: str) -> Iterator[Searches]:
    """Yield the searches of an iteration in batches; one shard is in memory at a time."""
    made_by, measured_by = f"dvc repro generate_beams@{name}", f"dvc repro measure_signals@{name}"
    prompts = read_table(paths.PROMPTS, Prompt, made_by=SAMPLED)
    for file in check_shards(paths.candidates(name), made_by=made_by).names():
        rows = read_table(paths.candidates(name) / file, Sentence, made_by=made_by)
        rows = rows.filter(pl.col("fate") != Fate.REFUSED.value)
        if signal != SEARCH:
            measured = read_table(paths.signals(name) / file, Signal, made_by=measured_by)
            values = measured.filter(name=signal).select("prompt_id", "node_id", "value")
            rows = rows.join(values, on=["prompt_id", "node_id"], how="left", maintain_order="left")
        trees = rows.select(pl.col("prompt_id").rle()).to_series().struct.unnest()
        start = 0
        for first in range(0, len(trees), BATCH):
            own = trees[first : first + BATCH]
            some = rows[start : start + own["len"].sum()]
            start += len(some)
            term = None if signal == SEARCH else some["value"]
            yield Searches(_prompts(prompts, own["value"], made_by=made_by), some, term)


def _prompts(table: pl.DataFrame, ids: pl.Series, *, made_by: str) -> list[Prompt]:
    """Return the prompts with some ids; both are in ascending order.

    Raises:
        UserError: an id has no row.
    """
    low, high = (table["prompt_id"].search_sorted(end, side="left") for end in (ids[0], ids[-1]))
    near = table[low : high + 1]
    found = near.filter(pl.col("prompt_id").is_in(ids.implode()))
    if len(found) < len(ids):
        missing = next(one for one in ids if one not in set(found["prompt_id"]))
        got, expected = f"no row for {missing}", "one for each prompt of the candidates"
        raise UserError(str(paths.PROMPTS), got=got, expected=expected, do=made_by)
    return from_table(found, Prompt)


def _truth(params: Params) -> TruthOf | None:
    """Return what tells false statements of an answer; None where the source knows no truth."""
    parser = open_source(params.source).claim_parser()
    if parser is None or not paths.TRUTH.is_file():
        return None
    truths = source_truths(params.evaluation_sets, read_rows(paths.TRUTH, Truth, made_by=SAMPLED))

    def share(prompt: Prompt, text: str) -> float | None:
        known = truths.get(prompt.image)
        return None if known is None else false_share(text, known, parser)

    return share


def _numbers(option: str, text: str | None, *, high: float = 1e9) -> list[float]:
    """Return the numbers of `LOW:HIGH:STEP` (both ends included) or `A,B,C`; empty for None."""
    if text is None:
        return []
    expected = f"LOW:HIGH:STEP, or numbers with commas, 0 to {high:g}"
    try:
        parts = [float(part) for part in text.split(":" if ":" in text else ",")]
    except ValueError:
        raise UserError(option, got=text, expected=expected, do=HELP) from None
    if ":" in text:
        if len(parts) != 3 or not parts[2] > 0 or not 0 <= parts[0] <= parts[1] <= high:
            raise UserError(option, got=text, expected=expected, do=HELP)
        low, last, step = parts
        count = (last - low) / step
        if count > MOST_POINTS:
            raise UserError(option, got=f"{count:,.0f} points", expected=f"at most {MOST_POINTS:,}", do=HELP)
        parts = [round(low + step * index, 12) for index in range(int(count + 1e-9) + 1)]
    if not all(0 <= part <= high for part in parts):
        raise UserError(option, got=text, expected=expected, do=HELP)
    return list(dict.fromkeys(parts))


def _names(option: str, names: Sequence[str], known: Collection[str]) -> list[str]:
    """Return distinct names of a scale or an aggregate."""
    for name in names:
        if name not in set(known):
            raise UserError(option, got=name, expected=f"one of {', '.join(known)}", do=HELP)
    return list(dict.fromkeys(names))
