"""An iteration's figures for the eye: the counts and distributions of `stats` as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from csrdata.inspection.histogram import sparkline


def report(figures: Mapping[str, Any]) -> Group:
    """Lay out what `csrdata.inspection.stats.stats` returns."""
    counts, responses, pairs = figures["counts"], figures["responses"], figures["pairs"]
    plain = {name: value for name, value in counts.items() if not isinstance(value, dict)}
    search = figures.get("search")
    costs = (
        []
        if search is None
        else [
            _figures("the search", {name: value for name, value in search.items() if name != "spent"}),
            _figures("the search's time, %", search["spent"]),
        ]
    )
    return Group(
        _figures(f"iteration {figures['iteration']}: candidates", plain),
        _figures("by fate", counts["by_fate"]),
        _figures("by stop", counts["by_stop"]),
        _distributions(figures["distributions"]),
        _figures("answers", responses),
        _figures("pairs", {name: value for name, value in pairs.items() if name != "dropped"}),
        _figures("prompts without a pair", pairs["dropped"]),
        *costs,
    )


def _figures(title: str, figures: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=44)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), _number(value))
    return table


def _distributions(distributions: Mapping[str, Any]) -> Table:
    """Lay out distributions in 80 columns: each one's numbers beside its name, its histogram below the name."""
    table = Table(
        title="distributions",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("of", min_width=24)
    for header in ("count", "lowest", "10%", "50%", "90%", "highest", "mean"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, found in distributions.items():
        if found is None:
            table.add_row(name, "0")
            continue
        bins = found["histogram"]
        numbers = [
            found["count"],
            bins["low"],
            found["p10"],
            found["p50"],
            found["p90"],
            bins["high"],
            found["mean"],
        ]
        table.add_row(f"{name}\n{sparkline(bins['counts'])}", *map(_number, numbers))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"
