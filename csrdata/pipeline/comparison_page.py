"""What `csrdata compare` prints: one line for each figure of each split."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from csrdata.evaluation.comparison import Comparison, Row
from csrdata.evaluation.pack.base import Check
from csrdata.inspection.page import Page, Paper, section


def comparison_page(found: Comparison) -> Page:
    """Return the page of a comparison."""
    return Page(lambda paper: _lines(paper, found))


def _lines(paper: Paper, found: Comparison) -> Iterator[RenderableType]:
    several = len(found.seeds) > 1
    headers = ["", "A", "B", "B - A", f"{found.confidence:g}% interval", "p", "d_z"]
    headers += ["by seed"] if several else []
    headers += [f"images for {found.points:g}"] if found.points is not None else []
    for split in dict.fromkeys(row.split for row in found.rows):
        rows = [row for row in found.rows if row.split == split]
        cells = [
            _cells(row, several=several, asked=found.points is not None, level=found.level) for row in rows
        ]
        title = f"{_titled(split, found)}: A = {found.a}, B = {found.b}, {rows[0].images:,} images"
        yield from section(paper, title, cells, headers=headers, sides="l" + "r" * (len(headers) - 1))
    notes = [
        "p: paired permutation test over images, two-sided, after Holm's correction over all lines. "
        f"d_z: difference / its standard deviation over images. * p < {found.level:g}."
    ]
    if several:
        notes.append(
            f"Pooled over seeds {', '.join(map(str, found.seeds))}; the interval covers images and seeds, p images alone."
        )
    if found.points is not None:
        notes.append(
            f"images for {found.points:g}: with which a paired test finds a true difference of {found.points:g} "
            f"with probability {found.power:g}, by itself at p < {found.level:g}."
        )
    if any(row.check == Check.UNCHECKED for row in found.rows):
        notes.append(
            "(unchecked): the figure was not checked against the original benchmark, or is not as there."
        )
    if found.unknown:
        notes.append(f"Unknown for a side, and accepted: {', '.join(found.unknown)}.")
    for note in notes:
        yield paper.text(note)


def _titled(split: str, found: Comparison) -> str:
    """Name a split, and its benchmark where that is called otherwise."""
    measure = found.measures[split]
    return split if measure.split()[-1] == split else f"{split}, {measure}"


def _cells(row: Row, *, several: bool, asked: bool, level: float) -> Sequence[str]:
    one = row.contrast
    star = " *" if one.p_holm is not None and one.p_holm < level else ""
    cells = [
        f"{row.title} (unchecked)" if row.check == Check.UNCHECKED else row.title,
        _one(one.a),
        _one(one.b),
        _one(one.difference),
        "-" if one.low is None else f"[{_one(one.low)}, {_one(one.high)}]",
        "-" if one.p_holm is None else f"{one.p_holm:.4f}{star}",
        "-" if one.effect is None else f"{one.effect:.2f}",
    ]
    if several:
        cells.append(" ".join(map(_one, one.by_seed)))
    if asked:
        cells.append("-" if row.images_needed is None else f"{row.images_needed:,}")
    return cells


def _one(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
