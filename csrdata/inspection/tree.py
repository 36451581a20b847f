"""The search tree of one prompt for a terminal: each candidate with its scores and fate; the pair's paths are marked."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.text import Text

from csrdata.inspection.outline import Node, draw
from csrdata.inspection.page import Page, Paper, number
from csrdata.inspection.search_tree import SearchTree
from csrdata.records import NO_PARENT, Response, Sentence

CHOSEN, REJECTED = "+", "-"
"""Marks before the sentences of the chosen and of the rejected answer; `±` marks a sentence that both share."""

STYLES = {CHOSEN: "green", REJECTED: "red", "±": "yellow", " ": ""}
SHOWN_REPETITION = 0.5
"""The line of a candidate shows its repetition (see `csrdata.records.Sentence`) at or above this value, 0..1."""


def render_tree(tree: SearchTree) -> Page:
    """Return a page with a search tree: children in order of creation, an answer's figures after its last sentence."""
    return Page(lambda paper: _lines(tree, paper))


def _lines(tree: SearchTree, paper: Paper) -> Iterator[RenderableType]:
    title = f"{tree.prompt.prompt_id}  {tree.prompt.image}  {tree.prompt.text}"
    yield paper.text(title, style="bold")
    if tree.pair is not None:
        margin = f"pair: margin {number(tree.pair.scores.margin)} ({CHOSEN} chosen, {REJECTED} rejected)"
        yield paper.text(margin, style="bold")
    if tree.dropped is not None:
        yield paper.text(f"no pair: {tree.dropped.reason}: {tree.dropped.detail}", style="bold")
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
            label = _label(sentence, paper, mark=marks.get(node, " "), answer=answers.get(node))
            drawn = Node(label)
            nodes[parent].append(drawn)
            nodes[node] = drawn.children
            waiting.append(node)
    yield from draw(nodes[NO_PARENT], paper)


def _marks(tree: SearchTree) -> Mapping[int, str]:
    """Return the mark of each sentence on the chosen or the rejected path, by node id."""
    if tree.pair is None:
        return {}
    parents = {sentence.node_id: sentence.parent_id for sentence in tree.sentences}
    scores = tree.pair.scores
    chosen, rejected = _path(scores.chosen_leaf, parents), _path(scores.rejected_leaf, parents)
    marks = dict.fromkeys(chosen, CHOSEN) | dict.fromkeys(rejected, REJECTED)
    return marks | dict.fromkeys(chosen & rejected, "±")


def _path(leaf: int | None, parents: Mapping[int, int]) -> set[int]:
    """Return the ids of the nodes from the first sentence to a leaf; an empty set if the leaf is unknown."""
    path = set()
    while leaf is not None and leaf != NO_PARENT:
        path.add(leaf)
        leaf = parents[leaf]
    return path


def _label(sentence: Sentence, paper: Paper, *, mark: str, answer: Response | None) -> Text:
    label = paper.text(f"{mark} ", style=STYLES[mark])
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
