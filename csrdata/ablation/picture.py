"""All arms on the plane of recall and CHAIR_S, with the curve of the base, as an SVG picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from csrdata.ablation.arms import BASE, Group
from csrdata.ablation.base_curve import base_curves, mean_points
from csrdata.ablation.table import Row, Table

LEFT, TOP, WIDTH, HEIGHT, GAP = 60, 46, 360, 320, 70
"""Of a panel, and between two of them."""
LEGEND = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B3294", "#000000")
"""Of the main arms, apart for readers who do not tell red from green."""
QUIET = "#8c959f"
STEP = 10.0
"""Between two lines of the grid, percent."""


@dataclass(frozen=True, slots=True)
class Place:
    """A panel: its left edge, and the recall at its edges, percent. CHAIR_S is at 0 below and at `top` above."""

    left: float
    low: float
    high: float
    top: float

    def x(self, recall: float) -> float:
        """Return the pixel of a recall."""
        return self.left + (recall - self.low) / (self.high - self.low) * WIDTH

    def y(self, chair_s: float) -> float:
        """Return the pixel of a CHAIR_S."""
        return TOP + (1 - chair_s / self.top) * HEIGHT


def picture(table: Table, splits: Sequence[str]) -> str:
    """Return a panel for each split: the base's curve, the main arms by colour, the exploratory ones grey.

    Args:
        table: of all arms.
        splits: to show, one or more.
    """
    total = LEFT + len(splits) * (WIDTH + GAP) + LEGEND
    main = [row.title for row in table.of(Group.MUST) if row.title != BASE]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(main)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {TOP + HEIGHT + 50}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{total}" height="{TOP + HEIGHT + 50}" fill="white"/>',
    ]
    for number, split in enumerate(splits):
        parts += _panel(table, split, LEFT + number * (WIDTH + GAP), colours)
    parts += _legend(total - LEGEND, colours, exploratory=bool(table.of(Group.EXPLORATORY)))
    return "\n".join([*parts, "</svg>", ""])


def _panel(table: Table, split: str, left: float, colours: dict[str, str]) -> Iterator[str]:
    curve = [
        (one["recall"], one["chair_s"])
        for one in mean_points(base_curves(table, split), ("recall", "chair_s")).values()
    ]
    rows = [(row, at) for row in table.rows if (at := _at(row, split)) is not None]
    seen = [*curve, *(at for _, at in rows)]
    if not seen:
        return
    recalls, chairs = [one for one, _ in seen], [one for _, one in seen]
    low, high = STEP * (min(recalls) // STEP), STEP * -(-max(recalls) // STEP)
    place = Place(left, low, high if high > low else low + STEP, max(STEP, STEP * -(-max(chairs) // STEP)))
    yield from _axes(place, split)
    if curve:
        points = " ".join(f"{place.x(recall):.1f},{place.y(chair):.1f}" for recall, chair in curve)
        yield f'<polyline points="{points}" fill="none" stroke="{QUIET}" stroke-width="2"/>'
    for row, (recall, chair) in sorted(rows, key=lambda one: one[0].title in colours):
        colour, radius = colours.get(row.title, QUIET), 6 if row.title in {BASE, *colours} else 3
        fill = "white" if row.title == BASE else colour
        yield (
            f'<circle cx="{place.x(recall):.1f}" cy="{place.y(chair):.1f}" r="{radius}" fill="{fill}" '
            f'stroke="{colour}" stroke-width="2"><title>{escape(row.title)}: CHAIR_S {chair:.1f}, recall {recall:.1f}'
            "</title></circle>"
        )


def _at(row: Row, split: str) -> tuple[float, float] | None:
    """Return recall and CHAIR_S of an arm's plain answers."""
    recall, chair = (row.cells.get(f"{split}/{name}") for name in ("recall", "chair_s"))
    if recall is None or chair is None or recall.figure.value is None or chair.figure.value is None:
        return None
    return recall.figure.value, chair.figure.value


def _axes(place: Place, split: str) -> Iterator[str]:
    yield (
        f'<text x="{place.left + WIDTH / 2}" y="{TOP - 20}" text-anchor="middle" font-size="14">'
        f"{escape(split.replace('_', ' '))}</text>"
    )
    for step in range(int(place.top / STEP) + 1):
        y = place.y(step * STEP)
        yield f'<line x1="{place.left}" x2="{place.left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de"/>'
        yield f'<text x="{place.left - 8}" y="{y + 4:.1f}" text-anchor="end">{step * STEP:g}</text>'
    wide = STEP / 2 if place.high - place.low <= 4 * STEP else STEP
    for step in range(int((place.high - place.low) / wide) + 1):
        recall = place.low + step * wide
        yield (
            f'<text x="{place.x(recall):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{recall:g}</text>'
        )
    yield (
        f'<text x="{place.left + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle">recall, % of objects</text>'
    )
    middle = TOP + HEIGHT / 2
    yield (
        f'<text transform="translate({place.left - 40} {middle}) rotate(-90)" text-anchor="middle">'
        "CHAIR_S, % of answers</text>"
    )


def _legend(left: float, colours: dict[str, str], *, exploratory: bool) -> Iterator[str]:
    for number, (name, colour) in enumerate(colours.items()):
        y = TOP + 10 + 22 * number
        yield f'<circle cx="{left}" cy="{y}" r="6" fill="{colour}" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{left + 14}" y="{y + 4}">{escape(name)}</text>'
    y = TOP + 10 + 22 * len(colours)
    yield f'<circle cx="{left}" cy="{y}" r="6" fill="white" stroke="{QUIET}" stroke-width="2"/>'
    yield f'<text x="{left + 14}" y="{y + 4}">base</text>'
    yield (
        f'<line x1="{left - 8}" x2="{left + 8}" y1="{y + 22}" y2="{y + 22}" stroke="{QUIET}" stroke-width="2"/>'
    )
    yield f'<text x="{left + 14}" y="{y + 26}">base, end bias</text>'
    if exploratory:
        yield f'<circle cx="{left}" cy="{y + 44}" r="3" fill="{QUIET}" stroke="{QUIET}" stroke-width="2"/>'
        yield f'<text x="{left + 14}" y="{y + 48}">exploratory</text>'
