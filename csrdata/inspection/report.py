"""The figures of `stats` as tables for a terminal of any width, each with its unit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from rich.console import RenderableType
from rich.text import Text

from csrdata.inspection.cost import PairCost, SearchCost
from csrdata.inspection.histogram import BINS
from csrdata.inspection.page import Page, Paper, number, section
from csrdata.inspection.pair_bias import Disagreement, LengthBias, ScorerAgreement, Variety
from csrdata.inspection.stats import (
    Counts,
    Distribution,
    Distributions,
    PairFigures,
    ResponseFigures,
    Stats,
)
from csrdata.inspection.wording import Wording

UNITS = {
    "answers": "answers",
    "best_answer_flipped": "% of prompts: not the language term's choice",
    "candidates": "sentences",
    "canonical": "% of answers",
    "chosen_longer": "% of pairs",
    "chosen_shorter": "% of pairs",
    "compared": "pairs with two texts",
    "cpu_seconds": "s of CPU, on all cores",
    "equal_length": "% of pairs",
    "exact_duplicates": "pairs equal to an earlier one",
    "finished": "% of answers",
    "first_word_only_accuracy": "0..100, % of pairs, 50 = it says nothing",
    "held_out_agrees": "% of pairs, ties half",
    "identical_sides": "pairs",
    "images": "images",
    "kept": "pairs",
    "leaves_not_canonical": "answers",
    "length_only_accuracy": "50..100, % of pairs",
    "length_only_auc": "0..1, 0.5 = length says nothing",
    "likelihood_prefers_rejected": "% of pairs",
    "logprob_prefers_rejected": "% of pairs",
    "margin_correlation": "-1..1, Pearson's r of both margins",
    "margin_gap_correlation": "-1..1, Pearson's r of margin and length gap",
    "mean_chosen_words": "words",
    "mean_length_gap": "words, chosen - rejected",
    "mean_margin": "on the scale of the pairs' origin",
    "mean_rejected_words": "words",
    "mean_sentences": "sentences",
    "mean_words": "words",
    "near_duplicates": "pairs nearly equal to an earlier one",
    "pairs": "pairs with both rewards",
    "peak_mib": "MiB",
    "prompts": "prompts",
    "reward_length_correlation": "-1..1, Pearson's r with words",
    "scorer_correlation": "-1..1, Pearson's r of R_I and held-out R_I",
    "seconds": "s, all workers at once",
    "sentences_per_second": "sentences per s",
    "tokens_per_prompt": "generated tokens",
    "truncated_for_the_scorer": "sentences",
    "with_pairs": "prompts",
}
"""The unit or the range of each single figure."""

DISTRIBUTIONS = {
    "sentence_log10_probability": ("R_T of a sentence", "log10 of probability"),
    "sentence_probability_per_token": ("R_T per token", "0..1"),
    "sentence_relevance": ("R_I of a sentence", "0..100, 100 * cosine"),
    "sentence_repetition": ("similarity to an earlier sentence", "0..1, cosine"),
    "sentence_guidance_reward": ("guidance of a sentence", "generate_beams' scale"),
    "answer_reward": ("reward of an answer", "score_beams' scale"),
    "pair_margin": ("margin of a pair", "scale of its origin"),
}
"""Title and unit of each distribution."""

ORIGIN_COLUMNS = {
    "pairs": "pairs",
    "mean_margin": "margin, mean",
    "mean_length_gap": "gap, words",
    "chosen_shorter": "% shorter",
    "held_out_agrees": "% agrees",
}
FIRST_WORD_COLUMNS = {"chosen": "% of chosen", "rejected": "% of rejected"}
DEPTH_COLUMNS = {
    "candidates": "sentences",
    "mean_relevance": "R_I, mean",
    "mean_probability_per_token": "R_T per token",
    "truncated_for_the_scorer": "cut for the scorer",
}
"""Fields of the tables by origin, by first word and by depth, with their headers."""

NUMBERS = ("count", "lowest", "10%", "50%", "90%", "highest", "mean")


def report(figures: Stats) -> Page:
    """Return a page with the figures of an iteration, for any width."""
    return Page(lambda paper: _sections(figures, paper))


def _sections(figures: Stats, paper: Paper) -> Iterator[RenderableType]:
    counts, pairs, search = figures.counts, figures.pairs, figures.search
    yield from _figures(paper, f"iteration {figures.iteration}: candidates", _single(counts))
    yield from _figures(paper, "by fate", counts.by_fate, unit="sentences")
    yield from _figures(paper, "by stop", counts.by_stop, unit="sentences")
    yield from _distributions(paper, figures.distributions)
    yield from _figures(paper, "answers", _single(figures.responses))
    yield from _figures(paper, "pairs", _single(pairs))
    yield from _figures(paper, "by form", pairs.by_form, unit="pairs")
    picks = figures.length.length_only_picks
    title = "length alone" if picks is None else f"length alone (the better rule: take the {picks} side)"
    yield from _figures(paper, title, _single(figures.length))
    yield from _figures(paper, "the first word alone", _single(figures.wording))
    by_word = {one.word: one for one in figures.wording.first_words}
    yield from _table(paper, "first words", FIRST_WORD_COLUMNS, by_word)
    yield from _figures(paper, "the held-out scorer", _single(figures.scorers))
    yield from _disagreements(paper, figures.scorers.largest_disagreements)
    yield from _figures(paper, "variety", _single(figures.variety))
    yield from _table(paper, "by origin", ORIGIN_COLUMNS, figures.origins)
    yield from _table(paper, "candidates by depth", DEPTH_COLUMNS, figures.by_depth)
    yield from _figures(paper, "prompts without a pair", pairs.dropped, unit="prompts")
    if any(pairs.removed.values()):
        yield from _figures(paper, "pairs taken out by curation", pairs.removed, unit="pairs")
    if search is not None:
        yield from _figures(paper, "the search", _single(search))
        yield from _figures(paper, "the search's time", search.spent, unit="% of the workers' seconds")
    if figures.cost is not None:
        yield from _figures(paper, "a pair's cost", _single(figures.cost))


def _single(
    figures: Counts
    | ResponseFigures
    | PairFigures
    | LengthBias
    | Wording
    | ScorerAgreement
    | Variety
    | SearchCost
    | PairCost,
) -> dict[str, float | None]:
    """Return the figures that are single numbers, by name."""
    named = {field.name: getattr(figures, field.name) for field in fields(figures)}
    return {
        name: value
        for name, value in named.items()
        if not isinstance(value, dict | list | str) and name != "length_only_picks"
    }


def _disagreements(paper: Paper, found: Sequence[Disagreement]) -> Iterator[RenderableType]:
    if found:
        rows = [(one.prompt_id, one.number, number(one.margin), number(one.held_out_margin)) for one in found]
        headers = ("prompt", "pair", "margin", "held-out margin")
        yield from section(paper, "largest disagreements of the scorers", rows, headers=headers, sides="lrrr")


def _table(
    paper: Paper, title: str, columns: Mapping[str, str], found: Mapping[str, object]
) -> Iterator[RenderableType]:
    """Yield a table of records by name, one column for each field; nothing without a record."""
    if found:
        rows = [(name, *(number(getattr(one, field)) for field in columns)) for name, one in found.items()]
        headers = ("", *columns.values())
        yield from section(paper, title, rows, headers=headers, sides="l" + "r" * len(columns))


def _figures(
    paper: Paper, title: str, figures: Mapping[str, float | None], *, unit: str | None = None
) -> Iterator[RenderableType]:
    rows = [
        (name.replace("_", " "), number(value), UNITS[name] if unit is None else unit)
        for name, value in figures.items()
    ]
    return section(paper, title, rows, sides="lrl")


def _distributions(paper: Paper, distributions: Distributions) -> Iterator[RenderableType]:
    """Yield one table if the numbers of every distribution fit on a line; otherwise one table per distribution."""
    found = {name: getattr(distributions, name) for name in DISTRIBUTIONS}
    named = [(*DISTRIBUTIONS[name], one, _numbers(one)) for name, one in found.items()]
    columns = list(zip(NUMBERS, *(numbers for *_, numbers in named), strict=True))
    if BINS + sum(1 + max(map(len, column)) for column in columns) <= paper.width:
        rows = [(_label(paper, title, unit, one), *numbers) for title, unit, one, numbers in named]
        headers, sides = ("of", *NUMBERS), "l" + "r" * len(NUMBERS)
        yield from section(paper, "distributions", rows, headers=headers, sides=sides, least=BINS)
        return
    for title, unit, one, numbers in named:
        rows = list(zip(NUMBERS, numbers, strict=True))
        yield from section(paper, f"{title}, {unit}", rows, sides="lr")
        if one is not None:
            yield paper.bars(one.histogram.counts)


def _label(paper: Paper, title: str, unit: str, one: Distribution | None) -> Text:
    lines = [paper.text(title), paper.text(unit)]
    if one is not None:
        lines.append(paper.bars(one.histogram.counts))
    return Text("\n").join(lines)


def _numbers(one: Distribution | None) -> tuple[str, ...]:
    if one is None:
        return ("0", *["-"] * (len(NUMBERS) - 1))
    bins = one.histogram
    found = (one.count, bins.low, one.p10, one.p50, one.p90, bins.high, one.mean)
    return tuple(map(number, found))
