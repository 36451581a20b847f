"""The search tree of one prompt for a terminal: each candidate with its scores and fate; the sides of pairs are marked.

Of a pair of whole answers, both paths are marked; of a pair with a context, the two candidates that continue it. If a prompt
has several pairs, a mark has the pair's number.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from csrdata.inspection.outline import Node, draw
from csrdata.inspection.page import Page, Paper, number
from csrdata.inspection.search_tree import SearchTree
from csrdata.records import NO_PARENT, Response, Sentence
from csrdata.search.pairs import Form, form

CHOSEN, REJECTED, BOTH = "+", "-", "±"
"""Marks before the sentences of the chosen and of the rejected side, and of one that both share."""

STYLES = {CHOSEN: "green", REJECTED: "red", BOTH: "yellow"}
SHOWN_REPETITION = 0.5
"""The line of a candidate shows its repetition (see `csrdata.records.Sentence`) at or above this value, 0..1."""


def render_tree(tree: SearchTree) -> Page:
    """Return a page with a search tree: children in order of creation, an answer's figures after its last sentence."""
    return Page(lambda paper: _lines(tree, paper))


def _lines(tree: SearchTree, paper: Paper) -> Iterator[RenderableType]:
    title = f"{tree.prompt.prompt_id}  {tree.prompt.image}  {tree.prompt.text}"
    yield paper.text(title, style="bold")
    for pair in tree.pairs:
        what = f"{form(pair).replace('_', ' ')} by {pair.origin}, margin {number(pair.scores.margin)}"
        name = f"pair {pair.number}" if len(tree.pairs) > 1 else "pair"
        yield paper.text(f"{name}: {what} ({CHOSEN} chosen, {REJECTED} rejected)", style="bold")
    if tree.dropped is not None:
        yield paper.text(f"no pair: {tree.dropped.reason}: {tree.dropped.detail}", style="bold")
    elif tree.removed:
        details = "; ".join(row.detail for row in tree.removed)
        yield paper.text(f"taken out by curation (numbers before it): {details}", style="bold")
    children: dict[int, list[Sentence]] = defaultdict(list)
    for sentence in tree.sentences:
        children[sentence.parent_id].append(sentence)
    marks = _marks(tree)
    answers = {response.leaf_id: response for response in tree.responses}
    nodes: dict[int, list[Node]] = {NO_PARENT: []}
    waiting = [NO_PARENT]
    while waiting:
        parent = waiting.pop(0)
        for sentence in children[parent]:
            node = sentence.node_id
            label = _label(sentence, paper, marks=marks.get(node, ()), answer=answers.get(node))
            drawn = Node(label)
            nodes[parent].append(drawn)
            nodes[node] = drawn.children
            waiting.append(node)
    yield from draw(nodes[NO_PARENT], paper)


def _marks(tree: SearchTree) -> Mapping[int, Sequence[str]]:
    """Return the marks of the sentences of pairs, by node id: `+`, or `+0` and `-1` if there are several pairs."""
    parents = {sentence.node_id: sentence.parent_id for sentence in tree.sentences}
    marks: dict[int, list[str]] = defaultdict(list)
    for pair in tree.pairs:
        leaves = (pair.scores.chosen_leaf, pair.scores.rejected_leaf)
        whole = form(pair) is Form.ANSWERS
        chosen, rejected = (_path(leaf, parents) if whole else {leaf} - {None} for leaf in leaves)
        shown = str(pair.number) if len(tree.pairs) > 1 else ""
        for node in chosen | rejected:
            sign = BOTH if node in chosen & rejected else CHOSEN if node in chosen else REJECTED
            marks[node or 0].append(f"{sign}{shown}")
    return marks


def _path(leaf: int | None, parents: Mapping[int, int]) -> set[int | None]:
    """Return the ids of the nodes from the first sentence to a leaf; an empty set if the leaf is unknown."""
    path: set[int | None] = set()
    while leaf is not None and leaf != NO_PARENT:
        path.add(leaf)
        leaf = parents[leaf]
    return path


def _label(sentence: Sentence, paper: Paper, *, marks: Sequence[str], answer: Response | None) -> Text:
    signs = {mark[0] for mark in marks}
    style = "" if not signs else STYLES[signs.pop() if len(signs) == 1 else BOTH]
    label = paper.text(f"{' '.join(marks) or ' '} ", style=style)
    label.append_text(paper.text(sentence.text.strip() or "(end)"))
    label.append(f"  R_T {math.exp(sentence.logprob):.2g}", style="dim")
    if sentence.relevance is not None:
        cut = " (cut)" if sentence.relevance_truncated else ""
        label.append(f"  R_I {sentence.relevance:.1f}{cut}", style="dim")
    if sentence.repetition is not None and sentence.repetition >= SHOWN_REPETITION:
        label.append(f"  repetition {sentence.repetition:.2f}", style="dim")
    if sentence.guidance_reward is not None:
        label.append(f"  reward {sentence.guidance_reward:.3g}", style="dim")
    label.append(f"  {sentence.fate}, {sentence.stop}", style="dim")
    if answer is not None:
        label.append(f"  => R(y) {answer.reward:.3g}, {answer.words} words", style="bold")
        if not answer.canonical:
            label.append(" (not canonical)")
    return label
