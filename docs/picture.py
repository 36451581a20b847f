"""Draw docs/search.png, the README's picture, from a project's own tables: `python docs/picture.py PROMPT_ID`.

Left the image and its instruction, in the middle the search tree (a column per depth, a box per candidate sentence,
coloured by its relevance R_I), on the right the two sides of a pair, with what is said before them. Run it where
`make repro` has run.
"""

import sys
import textwrap
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from csrdata import paths
from csrdata.records import Pair, Sentence
from csrdata.storage.tables import read_rows

SCALE = 2
WIDTH, HEIGHT = 1200, 560
INK, GREY, LIGHT = "#1f2328", "#6e7781", "#d0d7de"
GOOD, BAD = "#1a7f37", "#cf222e"
TREE_LEFT, TREE_RIGHT, TREE_TOP, TREE_BOTTOM = 250, 770, 60, 520
BOX = (74, 15)


def main() -> None:
    """Draw the tree and a pair of one prompt of iteration 1: the first that has a beginning."""
    again = "make repro"
    pair = next(
        row
        for row in read_rows(paths.pairs("1"), Pair, made_by=again)
        if row.prompt_id == sys.argv[1] and row.context
    )
    rows = read_rows(paths.candidates("1"), Sentence, made_by=again)
    draw(pair, [row for row in rows if row.prompt_id == sys.argv[1]], Path("docs/search.png"))


def draw(pair: Pair, sentences: list[Sentence], target: Path) -> None:
    """Write the picture of a pair and of the search tree that it came from."""
    canvas = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    pen = ImageDraw.Draw(canvas)
    _prompt(canvas, pen, pair)
    chosen, rejected = (
        _path(sentences, leaf) for leaf in (pair.scores.chosen_leaf, pair.scores.rejected_leaf)
    )
    _tree(pen, sentences, {node.node_id for node in chosen}, {node.node_id for node in rejected})
    _answer(pen, chosen, top=60, title="chosen", colour=GOOD, reward=pair.scores.chosen_reward)
    _answer(pen, rejected, top=310, title="rejected", colour=BAD, reward=pair.scores.rejected_reward)
    canvas.save(target, optimize=True)


def _prompt(canvas: Image.Image, pen: ImageDraw.ImageDraw, pair: Pair) -> None:
    _text(pen, (20, 22), "image and instruction", GREY, 15)
    picture = (
        Image.open(pair.image).convert("RGB").resize((200 * SCALE, 200 * SCALE), Image.Resampling.NEAREST)
    )
    canvas.paste(picture, (20 * SCALE, 60 * SCALE))
    pen.rectangle(_scaled(20, 60, 220, 260), outline=LIGHT, width=SCALE)
    for line, text in enumerate(textwrap.wrap(pair.prompt, 28)):
        _text(pen, (20, 275 + 20 * line), text, INK, 15)


def _tree(pen: ImageDraw.ImageDraw, sentences: list[Sentence], chosen: set[int], rejected: set[int]) -> None:
    depths = max(node.depth for node in sentences)
    _text(
        pen, (TREE_LEFT, 22), "search: every candidate sentence and its R_I, one column per depth", GREY, 15
    )
    columns: dict[int, list[Sentence]] = defaultdict(list)
    for node in sentences:
        columns[node.depth].append(node)
    spread = (TREE_RIGHT - TREE_LEFT - BOX[0]) / max(depths - 1, 1)
    place: dict[int, tuple[float, float]] = {}
    for depth, nodes in columns.items():
        step = (TREE_BOTTOM - TREE_TOP) / max(len(nodes), 1)
        for row, node in enumerate(nodes):
            place[node.node_id] = (TREE_LEFT + (depth - 1) * spread, TREE_TOP + (row + 0.5) * step)
    for node in sentences:
        if node.parent_id in place:
            (x0, y0), (x1, y1) = place[node.parent_id], place[node.node_id]
            colour, width = _edge(node.node_id, chosen, rejected)
            pen.line(_scaled(x0 + BOX[0], y0, x1, y1), fill=colour, width=width * SCALE)
    highest = max(node.relevance or 0 for node in sentences) or 1
    for node in sentences:
        x, y = place[node.node_id]
        fill = "#eaeef2" if node.relevance is None else _shade(node.relevance / highest)
        colour, width = _edge(node.node_id, chosen, rejected)
        box = _scaled(x, y - BOX[1] / 2, x + BOX[0], y + BOX[1] / 2)
        pen.rectangle(box, fill=fill, outline=colour, width=width * SCALE)
        label = "end" if node.relevance is None else f"{node.relevance:.0f}"
        _text(pen, (x + 5, y - 6), label, INK, 10)
        if node.relevance is not None:
            _text(pen, (x + 24, y - 6), _short(pen, node.text, width=BOX[0] - 26), INK, 8)


def _answer(
    pen: ImageDraw.ImageDraw,
    path: list[Sentence],
    *,
    top: float,
    title: str,
    colour: str,
    reward: float | None,
) -> None:
    left = 800
    _text(pen, (left, top - 38), f"{title}, reward {reward or 0:.2f}", colour, 18)
    line = 0
    for node in path:
        if node.relevance is None:
            continue
        score = f"R_I {node.relevance:.0f}"
        wrapped = textwrap.wrap(node.text.strip(), 44)
        bar = _scaled(left, top + 19 * line + 3, left + 4, top + 19 * (line + len(wrapped)) - 3)
        pen.rectangle(bar, fill=GOOD if node.relevance >= 30 else BAD)
        for number, text in enumerate(wrapped):
            _text(pen, (left + 12, top + 19 * line), text, INK, 14)
            if number == 0:
                _text(pen, (left + 330, top + 19 * line), score, GREY, 13)
            line += 1


def _path(sentences: list[Sentence], leaf: int | None) -> list[Sentence]:
    nodes = {node.node_id: node for node in sentences}
    path = [node for node in sentences if node.node_id == leaf]
    while path[-1].parent_id in nodes:
        path.append(nodes[path[-1].parent_id])
    return path[::-1]


def _edge(node: int, chosen: set[int], rejected: set[int]) -> tuple[str, int]:
    if node in chosen:
        return GOOD, 2
    return (BAD, 2) if node in rejected else (LIGHT, 1)


def _shade(share: float) -> tuple[int, int, int]:
    """Red for 0, white for one half, green for 1."""
    low, middle, high = (255, 206, 203), (255, 255, 255), (172, 238, 187)
    start, end, part = (low, middle, 2 * share) if share < 0.5 else (middle, high, 2 * share - 1)
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(start, end, strict=True))
    return red, green, blue


def _short(pen: ImageDraw.ImageDraw, text: str, *, width: float) -> str:
    """Return the beginning of a sentence that fits a width."""
    short, font = text.strip(), ImageFont.load_default(8 * SCALE)
    while short and pen.textlength(short, font=font) > width * SCALE:
        short = short[:-1].rstrip()
    return short


def _text(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, fill: str, size: int) -> None:
    font = ImageFont.load_default(size * SCALE)
    pen.text((at[0] * SCALE, at[1] * SCALE), text, fill=fill, font=font)


def _scaled(*numbers: float) -> list[float]:
    return [number * SCALE for number in numbers]


if __name__ == "__main__":
    main()
