"""The arms as SVG pictures: recall and CHAIR_S with the curve of the base, and the gain against the scorer's accuracy."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from csrdata.ablation.arms import BASE, Group
from csrdata.ablation.base_curve import base_curves, mean_points
from csrdata.ablation.scorer_curve import Point
from csrdata.ablation.table import Row, Table

LEFT, TOP, WIDTH, HEIGHT, GAP = 60, 46, 360, 320, 70
"""Of a panel, and between two of them."""
LEGEND = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B3294", "#000000")
"""Of the main arms, apart for readers who do not tell red from green."""
QUIET, GRID = "#8c959f", "#d0d7de"
STEP = 10.0
"""Between two lines of the grid, percent or points."""
NOTE, NOTE_LINE, NOTE_LINES = 56, 16, 3
"""What is named under a panel: characters of a line, pixels of a line, and lines that there is room for."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the pictures next to each other: its left edge in pixels, and the values at its edges."""

    left: float
    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the pixel of a value across."""
        low, high = self.xs
        return self.left + (value - low) / (high - low) * WIDTH

    def y(self, value: float) -> float:
        """Return the pixel of a value upwards."""
        low, high = self.ys
        return TOP + (high - value) / (high - low) * HEIGHT

    def axes(self, *, title: str, across: str, upwards: str) -> Iterator[str]:
        """Yield the grid, its numbers, and what they are."""
        middle, bottom = self.left + WIDTH / 2, TOP + HEIGHT
        yield _text(middle, TOP - 20, title, size=14)
        for value in _steps(self.ys):
            y = self.y(value)
            yield f'<line x1="{self.left}" x2="{self.left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
            yield _text(self.left - 8, y + 4, f"{value:g}", anchor="end")
        for value in _steps(self.xs):
            yield _text(self.x(value), bottom + 18, f"{value:g}")
        yield _text(middle, bottom + 40, across)
        yield (
            f'<text transform="translate({self.left - 40} {TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(upwards)}</text>"
        )


def arms_picture(table: Table, splits: Sequence[str]) -> str:
    """Return a panel for each split: the base's curve, the main arms by colour, the exploratory ones grey.

    Exploratory arms with less recall than all of the curve are named under it.

    Args:
        table: of all arms.
        splits: to show, one or more.
    """
    main = [row.title for row in table.of(Group.MUST) if row.title != BASE]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(main)}
    parts = [
        part for left, split in _places(splits).items() for part in _arms_panel(table, split, left, colours)
    ]
    legend = _legend(
        LEFT + len(splits) * (WIDTH + GAP), colours, exploratory=bool(table.of(Group.EXPLORATORY))
    )
    return _svg([*parts, *legend], width=LEFT + len(splits) * (WIDTH + GAP) + LEGEND)


def scorer_picture(points: Mapping[str, Sequence[Point]]) -> str:
    """Return a panel for each split: what one iteration gains, against how often R_I prefers the truer answer.

    Args:
        points: by split, as `csrdata.ablation.scorer_curve.scorer_curve` returns them. Those without a gain are left out.
    """
    parts: list[str] = []
    for left, (split, own) in zip(_places(list(points)), points.items(), strict=True):
        gains = [(point, point.gain) for point in own if point.gain is not None]
        if len(gains) > 1:
            parts += _scorers_panel(gains, split, left)
    return _svg(parts, width=LEFT + len(points) * (WIDTH + GAP))


def _arms_panel(table: Table, split: str, left: float, colours: Mapping[str, str]) -> Iterator[str]:
    curve = [
        (one["recall"], one["chair_s"])
        for one in mean_points(base_curves(table, split), ("recall", "chair_s")).values()
    ]
    rows = [(row, at) for row in table.rows if (at := _at(row, split)) is not None]
    least = min([recall for recall, _ in curve] or [0.0])
    far = [row.title for row, (recall, _) in rows if recall < least and row.title not in colours]
    rows = [(row, at) for row, at in rows if row.title not in far]
    seen = [*curve, *(at for _, at in rows)]
    if not seen:
        return
    panel = Panel(left, _range([one for one, _ in seen]), _range([0.0, *(one for _, one in seen)]))
    yield from panel.axes(
        title=split.replace("_", " "), across="recall, % of objects", upwards="CHAIR_S, % of answers"
    )
    if curve:
        yield _polyline(panel, curve)
    for row, (recall, chair) in sorted(rows, key=lambda one: one[0].title in colours):
        colour = colours.get(row.title, QUIET)
        fill, radius = "white" if row.title == BASE else colour, 6 if row.title in {BASE, *colours} else 3
        about = f"{row.title}: CHAIR_S {chair:.1f}, recall {recall:.1f}"
        yield _dot(panel.x(recall), panel.y(chair), colour, fill=fill, radius=radius, about=about)
    note = f"not shown, with less recall: {', '.join(far)}" if far else ""
    lines = textwrap.wrap(note, NOTE, max_lines=NOTE_LINES, placeholder=" ...", break_on_hyphens=False)
    for number, text in enumerate(lines):
        yield _text(left + WIDTH / 2, TOP + HEIGHT + 58 + number * NOTE_LINE, text)


def _scorers_panel(gains: Sequence[tuple[Point, float]], split: str, left: float) -> Iterator[str]:
    at = [(point.accuracy, gain) for point, gain in gains]
    panel = Panel(left, _range([one for one, _ in at]), _range([0.0, *(one for _, one in at)]))
    yield from panel.axes(
        title=split.replace("_", " "),
        across="R_I prefers the truer of two answers, %",
        upwards="gain in CHAIR_S at the base's recall, points",
    )
    zero = panel.y(0.0)
    yield f'<line x1="{left}" x2="{left + WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="{QUIET}" stroke-width="2"/>'
    yield _polyline(panel, at)
    for point, gain in gains:
        x, y = panel.x(point.accuracy), panel.y(gain)
        about = f"{point.arm}: gain {gain:.1f}, accuracy {point.accuracy:.1f}"
        yield _dot(x, y, COLOURS[0], fill=COLOURS[0], radius=4, about=about)
        if x > left + WIDTH / 2:
            yield _text(x - 8, y + 4, point.arm, anchor="end")
        else:
            yield _text(x + 8, y + 4, point.arm, anchor="start")


def _at(row: Row, split: str) -> tuple[float, float] | None:
    """Return recall and CHAIR_S of an arm's plain answers."""
    recall, chair = (row.cells.get(f"{split}/{name}") for name in ("recall", "chair_s"))
    if recall is None or chair is None or recall.figure.value is None or chair.figure.value is None:
        return None
    return recall.figure.value, chair.figure.value


def _legend(left: float, colours: Mapping[str, str], *, exploratory: bool) -> Iterator[str]:
    y = TOP + 10.0
    for name, colour in colours.items():
        yield _dot(left, y, colour, fill=colour, radius=6)
        yield _text(left + 14, y + 4, name, anchor="start")
        y += 22
    yield _dot(left, y, QUIET, fill="white", radius=6)
    yield _text(left + 14, y + 4, "base", anchor="start")
    yield f'<line x1="{left - 8}" x2="{left + 8}" y1="{y + 22}" y2="{y + 22}" stroke="{QUIET}" stroke-width="2"/>'
    yield _text(left + 14, y + 26, "base, end bias", anchor="start")
    if exploratory:
        yield _dot(left, y + 44, QUIET, fill=QUIET, radius=3)
        yield _text(left + 14, y + 48, "exploratory", anchor="start")


def _places(splits: Sequence[str]) -> dict[float, str]:
    """Return the splits by the left edge of their panel."""
    return {float(LEFT + number * (WIDTH + GAP)): split for number, split in enumerate(splits)}


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return multiples of `STEP` around some values, not equal."""
    low, high = STEP * (min(values) // STEP), STEP * -(-max(values) // STEP)
    return low, high if high > low else low + STEP


def _steps(ends: tuple[float, float]) -> list[float]:
    """Return the values at which the grid has a line or a number."""
    low, high = ends
    step = STEP / 2 if high - low <= 4 * STEP else STEP
    return [low + number * step for number in range(round((high - low) / step) + 1)]


def _polyline(panel: Panel, values: Sequence[tuple[float, float]]) -> str:
    points = " ".join(f"{panel.x(one):.1f},{panel.y(other):.1f}" for one, other in values)
    return f'<polyline points="{points}" fill="none" stroke="{QUIET}" stroke-width="2"/>'


def _dot(x: float, y: float, colour: str, *, fill: str, radius: int, about: str | None = None) -> str:
    tooltip = "" if about is None else f"<title>{escape(about)}</title>"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{colour}" stroke-width="2">{tooltip}'
        "</circle>"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _svg(parts: Sequence[str], *, width: float) -> str:
    height = TOP + HEIGHT + 66 + (NOTE_LINES - 1) * NOTE_LINE
    box = f'viewBox="0 0 {width} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *parts,
            "</svg>",
            "",
        ]
    )
