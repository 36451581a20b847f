"""A comparison for the eye: the figures of `diff` as tables for a terminal, the two sides beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from csrdata.inspection.histogram import sparkline

SHOWN = 10
"""Ids of a kind that are listed; `--json` has them all."""
RIGHT = {"mean", "median", "lowest"}
"""The headers of columns of numbers; the highest value stands at its histogram's end."""


def diff_report(figures: Mapping[str, Any]) -> Group:
    """Lay out what `csrdata.inspection.diff.diff` returns."""
    pairs, changed = figures["pairs"], figures["changed"]
    parts: list[RenderableType] = [
        Text(f"a: {figures['a']}\nb: {figures['b']}", style="bold"),
        _sides("prompts and pairs", {"prompts": figures["prompts"], "pairs": pairs, **figures["dropped"]}),
        _counts("the pairs of a, in b", [*_outcomes(pairs, changed), *_reasons("lost", figures)]),
        _counts("the pairs of b, in a", [("added", pairs["added"]), *_reasons("added", figures)]),
        _means(figures["paired"]),
        _distributions(figures["distributions"]),
    ]
    listed = [_ids(name, ids) for name, ids in figures["ids"].items() if ids]
    return Group(*parts, *listed)


def _sides(title: str, rows: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(title=title, title_justify="left", min_width=44)
    table.add_column("of")
    for header in ("a", "b", "b - a"):
        table.add_column(header, justify="right")
    for name, sides in rows.items():
        a, b = sides["a"], sides["b"]
        label = name if name in {"prompts", "pairs"} else f"no pair: {name.replace('_', ' ')}"
        table.add_row(label, str(a), str(b), f"{b - a:+d}" if b != a else "0")
    return table


def _outcomes(pairs: Mapping[str, int], changed: Mapping[str, int]) -> list[tuple[str, int]]:
    return [
        ("same answers", pairs["same"]),
        ("  with another margin", pairs["rescored"]),
        ("flipped: chosen and rejected have changed places", pairs["flipped"]),
        ("changed", pairs["changed"]),
        ("  another chosen answer", changed["chosen"]),
        ("  another rejected answer", changed["rejected"]),
        ("  both others", changed["both"]),
        ("lost", pairs["lost"]),
    ]


def _reasons(kind: str, figures: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The reasons that occur, as lines under the count that they make up."""
    return [
        (f"  {reason.replace('_', ' ')}", count) for reason, count in figures["why"][kind].items() if count
    ]


def _counts(title: str, rows: Sequence[tuple[str, int]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=44)
    table.add_column("outcome", no_wrap=True)
    table.add_column("count", justify="right")
    for name, count in rows:
        table.add_row(name, str(count))
    return table


def _means(paired: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"mean change, b - a, over the {paired['prompts']} prompts with a pair on both sides",
        title_justify="left",
        show_header=False,
        min_width=44,
    )
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in paired.items():
        if name != "prompts":
            words = name.removeprefix("mean_").removesuffix("_change").replace("_", " ")
            table.add_row(words, "-" if value is None else f"{value:+.3g}")
    return table


def _distributions(distributions: Mapping[str, Any]) -> Table:
    """Draw both sides over one axis, in 80 columns; the JSON has the quantiles too."""
    table = Table(
        title="distributions of the pairs, a over b on one axis",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for header in ("of", "", "mean", "median", "lowest", "", "highest"):
        table.add_column(header, justify="right" if header in RIGHT else "left", no_wrap=True)
    for name, sides in distributions.items():
        for side, found in sides.items():
            label = name if side == "a" else ""
            if found is None:
                table.add_row(label, side, "-")
                continue
            bins = found["histogram"]
            mean, median, low, high = (
                f"{value:.3g}" for value in (found["mean"], found["p50"], bins["low"], bins["high"])
            )
            table.add_row(label, side, mean, median, low, sparkline(bins["counts"]), high)
    return table


def _ids(name: str, ids: Sequence[str]) -> Text:
    more = f", and {len(ids) - SHOWN} more (--json lists them)" if len(ids) > SHOWN else ""
    return Text(f"{name}: {', '.join(ids[:SHOWN])}{more}")
