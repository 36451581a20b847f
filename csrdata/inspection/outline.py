"""A tree drawn as indented lines with guides, at any width: the guides take at most half of it.

Each depth is indented by four columns, or by two if four do not fit. If two do not fit, each line states its depth in
words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from csrdata.inspection.page import Paper


@dataclass(frozen=True, slots=True)
class Node:
    """A label and its child nodes."""

    label: Text
    children: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Guides:
    """What is drawn before a label; each piece is one indentation wide."""

    last: str
    other: str
    through: str
    blank: str


_UNICODE = {4: _Guides("└── ", "├── ", "│   ", "    "), 2: _Guides("└ ", "├ ", "│ ", "  ")}
_ASCII = {4: _Guides("`-- ", "+-- ", "|   ", "    "), 2: _Guides("` ", "+ ", "| ", "  ")}


def draw(roots: Sequence[Node], paper: Paper) -> Iterator[Text]:
    """Yield the lines of several trees. A long label continues on the next line, aligned with its start."""
    all_guides = _UNICODE if paper.encoding.startswith("utf") else _ASCII
    console = Console(width=paper.width)
    deepest = _depth(roots)
    step = next((step for step in (4, 2) if step * deepest <= paper.width // 2), 0)
    waiting: list[tuple[Node, tuple[bool, ...]]] = []
    waiting += [(node, (index == len(roots) - 1,)) for index, node in reversed(list(enumerate(roots)))]
    while waiting:
        node, lasts = waiting.pop()
        first, rest = _prefixes(lasts, all_guides[step]) if step else (f"depth {len(lasts)} ", "  ")
        width = paper.width - max(len(first), len(rest))
        for number, line in enumerate(node.label.wrap(console, width, overflow="fold")):
            yield Text(rest if number else first, style="dim") + line
        children = list(enumerate(node.children))
        waiting += [(child, (*lasts, index == len(children) - 1)) for index, child in reversed(children)]


def _prefixes(lasts: Sequence[bool], guides: _Guides) -> tuple[str, str]:
    """Return the guides before the first line of a label, and before its other lines."""
    above = "".join(guides.blank if last else guides.through for last in lasts[:-1])
    if lasts[-1]:
        return above + guides.last, above + guides.blank
    return above + guides.other, above + guides.through


def _depth(nodes: Sequence[Node]) -> int:
    depth = 0
    while nodes:
        depth += 1
        nodes = [child for node in nodes for child in node.children]
    return depth
