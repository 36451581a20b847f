"""An iteration's figures for the eye: the counts and distributions of `stats` as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

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
    table = Table(title="distributions", title_justify="left")
    for header in ("of", "count", "mean", "10%", "50%", "90%", "lowest", "", "highest"):
        table.add_column(header, justify="left" if header in {"of", ""} else "right", no_wrap=header == "")
    for name, found in distributions.items():
        if found is None:
            table.add_row(name, "0")
            continue
        bins = found["histogram"]
        numbers = [_number(found[key]) for key in ("count", "mean", "p10", "p50", "p90")]
        table.add_row(name, *numbers, _number(bins["low"]), sparkline(bins["counts"]), _number(bins["high"]))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
