"""The figures of `diff` as tables for a terminal of any width; where it fits, both sides share one table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from rich.console import RenderableType

from csrdata.inspection.diff import (
    ChangedCounts,
    Diff,
    DistributionSides,
    MeanChanges,
    PairCounts,
    PromptCounts,
    Sides,
    Worlds,
)
from csrdata.inspection.page import Page, Paper, number, section
from csrdata.inspection.stats import Distribution

HEADERS = ("of", "", "count", "mean", "median", "low", "", "high")
"""Columns of the table of distributions; the histogram is between its low and its high end."""
SHOWN = 10
"""Largest number of ids that are listed per kind; `--json` has them all."""

UNITS = {
    "margin": "score_beams' scale",
    "held_out_margin": "score_beams' scale",
    "chosen_reward": "score_beams' scale",
    "rejected_reward": "score_beams' scale",
    "chosen_relevance": "0..100",
    "rejected_relevance": "0..100",
    "chosen_words": "words",
    "rejected_words": "words",
    "length_gap": "words",
}
"""The unit of each figure of a pair."""


def diff_report(figures: Diff) -> Page:
    """Return a page with the figures of a comparison, for any width."""
    return Page(lambda paper: _sections(figures, paper))


def _sections(figures: Diff, paper: Paper) -> Iterator[RenderableType]:
    pairs, why = figures.pairs, figures.why
    yield paper.text(f"a: {figures.a}", style="bold")
    yield paper.text(f"b: {figures.b}", style="bold")
    if figures.worlds.a != figures.worlds.b:
        yield paper.text(_other_worlds(figures.worlds), style="bold")
    yield from _sides(paper, {"prompts": figures.prompts, "pairs": pairs, **figures.dropped})
    lost = [*_outcomes(pairs, figures.changed), *_reasons(why.lost)]
    yield from section(paper, "pairs of a, compared with b", lost, sides="lr")
    yield from section(
        paper, "pairs of b, compared with a", [("added", pairs.added), *_reasons(why.added)], sides="lr"
    )
    yield from _means(paper, figures.paired)
    yield from _distributions(paper, figures.distributions)
    for field in fields(figures.ids):
        ids = getattr(figures.ids, field.name)
        if ids:
            yield paper.text(_ids(field.name, ids))


def _other_worlds(worlds: Worlds) -> str:
    a, b = ("not stated" if one is None else one for one in (worlds.a, worlds.b))
    return f"not comparable: the microworld's version is {a} in a and {b} in b; equal ids show other scenes"


def _sides(paper: Paper, rows: Mapping[str, Sides | PromptCounts | PairCounts]) -> Iterator[RenderableType]:
    cells = []
    for name, sides in rows.items():
        a, b = sides.a, sides.b
        label = name if name in {"prompts", "pairs"} else f"no pair: {name.replace('_', ' ')}"
        cells.append((label, a, b, f"{b - a:+d}" if b != a else "0"))
    return section(paper, "prompts and pairs", cells, headers=("of", "a", "b", "b - a"), sides="lrrr")


def _outcomes(pairs: PairCounts, changed: ChangedCounts) -> list[tuple[str, int]]:
    return [
        ("same answers", pairs.same),
        ("- with another margin", pairs.rescored),
        ("flipped: chosen and rejected are swapped", pairs.flipped),
        ("changed", pairs.changed),
        ("- another chosen answer", changed.chosen),
        ("- another rejected answer", changed.rejected),
        ("- both answers", changed.both),
        ("lost", pairs.lost),
    ]


def _reasons(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the reasons that occur, as rows below the count that they add up to."""
    return [(f"- {reason.replace('_', ' ')}", count) for reason, count in counts.items() if count]


def _means(paper: Paper, paired: MeanChanges) -> Iterator[RenderableType]:
    title = f"mean change, b - a, over the {paired.pairs} pairs that both sides have"
    rows = []
    for field in fields(paired):
        if field.name != "pairs":
            figure = field.name.removeprefix("mean_").removesuffix("_change")
            value = getattr(paired, field.name)
            change = "-" if value is None else f"{value:+.3g}"
            rows.append((figure.replace("_", " "), change, UNITS[figure]))
    return section(paper, title, rows, sides="lrl")


def _distributions(paper: Paper, distributions: Mapping[str, DistributionSides]) -> Iterator[RenderableType]:
    """Yield both sides on one axis, in one table where it fits. The JSON has the quantiles too."""
    rows = []
    for name, sides in distributions.items():
        for side, label, found in (("a", name.replace("_", " "), sides.a), ("b", UNITS[name], sides.b)):
            count, mean, median, low, high = _numbers(found)
            bars = paper.bars(() if found is None else found.histogram.counts)
            rows.append((label, side, count, mean, median, low, bars, high))
    title = "distributions of the pairs, a over b on one axis"
    if sum(1 + max(map(len, column)) for column in zip(HEADERS, *rows, strict=True)) <= paper.width + 1:
        yield from section(paper, title, rows, headers=HEADERS, sides="llrrrrlr")
        return
    yield from section(paper, title, [], sides="l")
    for (label, _, *a), (unit, _, *b) in zip(rows[::2], rows[1::2], strict=True):
        lines = [(header, *both) for header, *both in zip(HEADERS[2:], a, b, strict=True) if header]
        yield from section(paper, f"{label}, {unit}", [("", "a", "b"), *lines], sides="lrr")
        yield from (paper.text(f"{side} ") + row[6] for side, row in (("a", (0, 0, *a)), ("b", (0, 0, *b))))


def _numbers(found: Distribution | None) -> tuple[str, ...]:
    """Return a side's count, mean, median, lowest and highest value."""
    if found is None:
        return ("0", "-", "-", "-", "-")
    bins = found.histogram
    return tuple(map(number, (found.count, found.mean, found.p50, bins.low, bins.high)))


def _ids(name: str, ids: Sequence[str]) -> str:
    more = f", and {len(ids) - SHOWN} more (--json lists them)" if len(ids) > SHOWN else ""
    return f"{name}: {', '.join(ids[:SHOWN])}{more}"
