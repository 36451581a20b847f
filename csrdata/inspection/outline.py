"""A tree drawn as lines with guides, on paper of any width: the guides never take more than half of it.

A level takes four columns, or two where four do not fit; a node too deep for both says its depth in words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from csrdata.inspection.page import Paper


@dataclass(frozen=True, slots=True)
class Node:
    """A label and its children."""

    label: Text
    children: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Guides:
    """What is drawn before a label; each piece is one level wide."""

    last: str
    other: str
    through: str
    blank: str


_UNICODE = {4: _Guides("└── ", "├── ", "│   ", "    "), 2: _Guides("└ ", "├ ", "│ ", "  ")}
_ASCII = {4: _Guides("`-- ", "+-- ", "|   ", "    "), 2: _Guides("` ", "+ ", "| ", "  ")}


def draw(roots: Sequence[Node], paper: Paper) -> Iterator[Text]:
    """Yield the lines of a forest; a label that is too long continues on the next line, aligned with its start."""
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
    """Return what comes before a label's first line and before its others."""
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
