"""The rows of `sweep` as a table for a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from csrdata.inspection.page import Page, Paper, number, section
from csrdata.inspection.sweep import SweepRow

HEADERS = (
    "weight",
    "scale",
    "aggregate",
    "min. margin",
    "pairs",
    "changed",
    "flipped",
    "margin",
    "gap",
    "% shorter",
    "% truer",
)


def sweep_report(rows: Sequence[SweepRow], *, iteration: str) -> Page:
    """Return a page with one line for each setting, the present one first."""
    return Page(lambda paper: _lines(paper, rows, iteration))


def _lines(paper: Paper, rows: Sequence[SweepRow], iteration: str) -> Iterator[RenderableType]:
    cells = [
        (
            f"{row.setting.image_weight:g}{'' if index else ' (now)'}",
            row.setting.scale,
            row.setting.aggregate,
            f"{row.setting.margin:g}",
            *(
                number(value)
                for value in (
                    row.pairs,
                    row.changed,
                    row.flipped,
                    row.mean_margin,
                    row.mean_length_gap,
                    row.chosen_shorter,
                    row.truer_chosen,
                )
            ),
        )
        for index, row in enumerate(rows)
    ]
    title = f"iteration {iteration}: pairs that other settings would select"
    yield from section(paper, title, cells, headers=HEADERS, sides="lll" + "r" * 8)
    yield paper.text(
        "changed, flipped: prompts, against the first line. margin: mean, on the setting's own scale. gap: mean words, "
        "chosen - rejected. % truer: of the pairs whose sides differ in truth."
    )
