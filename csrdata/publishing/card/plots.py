"""The card's plots as small PNG files, drawn by Pillow: no plotting library, and equal figures give equal bytes.

There is one row per iteration. All rows share one horizontal axis, with its unit below; counts are next to the bars. Chosen
is blue and rejected is orange, which colour-blind readers can distinguish, also in greyscale.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from csrdata.inspection.histogram import Histogram
from csrdata.publishing.card.figures import Contrast, Figures
from csrdata.publishing.release.layout import PLOTS
from csrdata.publishing.release.manifest import Counts

CHOSEN, REJECTED, BOTH, INK, FAINT = "#2f6db3", "#e08a2e", "#8a7b72", "#222222", "#d9d9d9"
REASONS = ("#2f6db3", "#e08a2e", "#8d99a6", "#b4635a", "#c9b458", "#6a5d88")
"""Colours of the funnel: first the pairs, then the reasons for no pair."""

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 720, 96, 112, 24, 52, 50
WIDE_ENOUGH = 48
"""The smallest width of a bar with a number on it."""
SHARP = 2
"""Pixels of the file per pixel of the page, in each direction, for sharp images on high-resolution screens."""


def draw_plots(folder: Path, found: Sequence[Figures], counts: Sequence[Counts]) -> dict[str, str]:
    """Draw the plots of a release into its folder; return their titles, by path. Unknown scores have no plot."""
    contrasts: dict[str, tuple[str, str, list[Contrast | None]]] = {
        "rewards": (
            "Reward R(y) of chosen and rejected answers",
            "reward, on the scale of score_beams",
            [one.reward for one in found],
        ),
        "relevance": (
            "Relevance R_I of chosen and rejected answers",
            "R_I, 0 to 100",
            [one.relevance for one in found],
        ),
        "words": ("Words of chosen and rejected answers", "words per answer", [one.words for one in found]),
    }
    drawn = {
        f"{PLOTS}/funnel.png": (
            "Prompts with a pair, and why the others have none",
            _funnel("Prompts with a pair, and why the others have none", counts),
        ),
        **_margins(found),
        **{
            f"{PLOTS}/{name}.png": (
                title,
                _histograms(
                    title,
                    {
                        one.name: list(part.bins)
                        for one, part in zip(found, parts, strict=True)
                        if part is not None
                    },
                    unit=unit,
                    counted="answers",
                ),
            )
            for name, (title, unit, parts) in contrasts.items()
            if any(part is not None for part in parts)
        },
    }
    (folder / PLOTS).mkdir(exist_ok=True)
    for path, (_, image) in drawn.items():
        image.save(folder / path, optimize=True)
    return {path: title for path, (title, _) in drawn.items()}


def _margins(found: Sequence[Figures]) -> dict[str, tuple[str, Image.Image]]:
    """Draw the margins of the iterations that have margins; return no plot if none has."""
    rows = {one.name: [one.margin] for one in found if one.margin is not None}
    if not rows:
        return {}
    title = "Margin of the pairs"
    drawn = _histograms(title, rows, unit="reward of chosen minus rejected", counted="pairs")
    return {f"{PLOTS}/margin.png": (title, drawn)}


class Page:
    """A white page with a title; coordinates are pixels of the page as shown, not of the file."""

    def __init__(self, title: str, *, rows: int) -> None:
        self.height = TOP + rows * ROW + BOTTOM
        self.image = Image.new("RGB", (WIDTH * SHARP, self.height * SHARP), "white")
        self._draw = ImageDraw.Draw(self.image)
        self.text(LEFT, 16, title, size=15)

    def text(
        self, x: float, y: float, words: str, *, size: int = 12, anchor: str = "lm", fill: str = INK
    ) -> float:
        """Write a text; return its width."""
        font = ImageFont.load_default(size * SHARP)
        self._draw.text((x * SHARP, y * SHARP), words, fill=fill, font=font, anchor=anchor)
        return self._draw.textlength(words, font=font) / SHARP

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        """Fill a box, at least one pixel of the file wide and high; none without an area."""
        if right > left and bottom > top:
            x, y = round(left * SHARP), round(top * SHARP)
            corners = (x, y, max(x, round(right * SHARP - 1)), max(y, round(bottom * SHARP - 1)))
            self._draw.rectangle(corners, fill=colour)

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        x = float(LEFT)
        for colour, words in entries:
            self.box(x, 32, x + 11, 43, colour)
            x += 16 + self.text(x + 16, 38, words) + 18

    def done(self) -> Image.Image:
        return self.image.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _histograms(title: str, rows: dict[str, list[Histogram]], *, unit: str, counted: str) -> Image.Image:
    """Draw one histogram, or chosen over rejected, per row.

    Args:
        title: of the plot.
        rows: by iteration; all histograms have the same bins.
        unit: of the horizontal axis.
        counted: what a bar counts.
    """
    page = Page(title, rows=len(rows))
    two = any(len(series) > 1 for series in rows.values())
    if two:
        page.legend([(CHOSEN, "chosen"), (REJECTED, "rejected"), (BOTH, "both")])
    span = next(iter(rows.values()))[0]
    for index, (name, series) in enumerate(rows.items()):
        top, base = TOP + index * ROW + 10, TOP + (index + 1) * ROW
        page.text(LEFT - 12, (top + base) / 2, f"iteration {name}", anchor="rm")
        highest = max(max(one.counts) for one in series) or 1
        step = (WIDTH - LEFT - RIGHT) / len(span.counts)
        for place, counts in enumerate(zip(*(one.counts for one in series), strict=True)):
            left, right = LEFT + place * step, LEFT + (place + 1) * step - 1
            tops = [base - (base - top) * count / highest for count in counts]
            for colour, edge in zip((CHOSEN, REJECTED), tops, strict=False):
                page.box(left, edge, right, base, colour)
            if len(tops) > 1:
                page.box(left, max(tops), right, base, BOTH)
        page.box(LEFT, base, WIDTH - RIGHT, base + 1, FAINT)
        page.box(LEFT - 5, top, LEFT, top + 1, FAINT)
        page.text(LEFT - 8, top, f"{highest:,} {counted}", anchor="rm", size=10)
        page.text(LEFT - 8, base, "0", anchor="rm", size=10)
    foot = page.height - BOTTOM + 16
    for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
        value = span.low + share * (span.high - span.low)
        page.text(LEFT + share * (WIDTH - LEFT - RIGHT), foot, f"{value:.3g}", anchor=anchor)
    page.text((LEFT + WIDTH - RIGHT) / 2, foot + 16, f"{unit} ({len(span.counts)} bins)", anchor="mm")
    return page.done()


def _funnel(title: str, counts: Sequence[Counts]) -> Image.Image:
    """Draw kept and dropped prompts, one bar per iteration: lengths are shares, numbers are counts of prompts."""
    page = Page(title, rows=len(counts))
    reasons = sorted({reason for one in counts for reason in one.dropped})
    names = ["pair", *reasons]
    colours = {name: REASONS[index % len(REASONS)] for index, name in enumerate(names)}
    page.legend([(colours[name], name.replace("_", " ")) for name in names])
    for index, one in enumerate(counts):
        top, base = TOP + index * ROW + 34, TOP + (index + 1) * ROW - 14
        page.text(LEFT - 12, (top + base) / 2, f"iteration {one.name}", anchor="rm")
        page.text(LEFT, top - 12, f"{one.with_pairs} of {one.prompts} prompts")
        x = float(LEFT)
        for name in names:
            count = one.with_pairs if name == "pair" else one.dropped.get(name, 0)
            end = x + count / max(one.prompts, 1) * (WIDTH - LEFT - RIGHT)
            page.box(x, top, end, base, colours[name])
            if end - x > WIDE_ENOUGH:
                page.text((x + end) / 2, (top + base) / 2, f"{count:,}", anchor="mm", fill="white")
            x = end
    foot = page.height - BOTTOM + 8
    for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
        page.text(LEFT + share * (WIDTH - LEFT - RIGHT), foot, f"{100 * share:.0f}%", anchor=anchor)
    page.text((LEFT + WIDTH - RIGHT) / 2, foot + 18, "share of the prompts; numbers are prompts", anchor="mm")
    return page.done()
