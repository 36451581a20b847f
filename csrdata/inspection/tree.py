"""One prompt's search tree for a terminal: every candidate with its scores and fate, chosen and rejected paths marked."""

import math
from collections import defaultdict
from collections.abc import Mapping

from rich.text import Text
from rich.tree import Tree

from csrdata.inspection.iteration import SearchTree
from csrdata.records import NO_PARENT, Response, Sentence

CHOSEN, REJECTED = "+", "-"
"""Marks before a sentence of the chosen and of the rejected answer; `±` where they share it."""

STYLES = {CHOSEN: "green", REJECTED: "red", "±": "yellow", " ": ""}
SHOWN_REPETITION = 0.5
"""A candidate's line shows its repetition (largest cosine with an earlier sentence of the answer) at or above this."""


def render(tree: SearchTree) -> Tree:
    """Draw a search tree; children in the order of their creation, a path's answer after its leaf."""
    title = Text(f"{tree.prompt.prompt_id}  {tree.prompt.image}  ", style="bold")
    title.append(tree.prompt.text)
    if tree.pair is not None:
        title.append(f"\npair: margin {tree.pair.margin:.3g} ({CHOSEN} chosen, {REJECTED} rejected)")
    if tree.dropped is not None:
        title.append(f"\nno pair: {tree.dropped.reason}: {tree.dropped.detail}")
    drawn = Tree(title)
    children: dict[int, list[Sentence]] = defaultdict(list)
    for sentence in tree.sentences:
        children[sentence.parent_id].append(sentence)
    marks = _marks(tree)
    answers = {response.leaf_id: response for response in tree.responses}
    branches = {NO_PARENT: drawn}
    waiting = [NO_PARENT]
    while waiting:
        parent = waiting.pop(0)
        for sentence in children[parent]:
            label = _label(
                sentence, mark=marks.get(sentence.node_id, " "), answer=answers.get(sentence.node_id)
            )
            branches[sentence.node_id] = branches[parent].add(label)
            waiting.append(sentence.node_id)
    return drawn


def _marks(tree: SearchTree) -> Mapping[int, str]:
    """Mark the sentences on the chosen and the rejected path."""
    if tree.pair is None:
        return {}
    parents = {sentence.node_id: sentence.parent_id for sentence in tree.sentences}
    chosen, rejected = _path(tree.pair.chosen_leaf, parents), _path(tree.pair.rejected_leaf, parents)
    marks = dict.fromkeys(chosen, CHOSEN) | dict.fromkeys(rejected, REJECTED)
    return marks | dict.fromkeys(chosen & rejected, "±")


def _path(leaf: int, parents: Mapping[int, int]) -> set[int]:
    path = set()
    while leaf != NO_PARENT:
        path.add(leaf)
        leaf = parents[leaf]
    return path


def _label(sentence: Sentence, *, mark: str, answer: Response | None) -> Text:
    label = Text(f"{mark} ", style=STYLES[mark])
    label.append(sentence.text.strip() or "(end)")
    label.append(f"  R_T {math.exp(sentence.logprob):.2g}", style="dim")
    if sentence.relevance is not None:
        cut = " (cut)" if sentence.relevance_truncated else ""
        label.append(f"  R_I {sentence.relevance:.1f}{cut}", style="dim")
    if sentence.redundancy is not None and sentence.redundancy >= SHOWN_REPETITION:
        label.append(f"  repetition {sentence.redundancy:.2f}", style="dim")
    if sentence.steering_reward is not None:
        label.append(f"  reward {sentence.steering_reward:.3g}", style="dim")
    label.append(f"  {sentence.fate}, {sentence.stop}", style="dim")
    if answer is not None:
        label.append(f"  => R(y) {answer.reward:.3g}, {answer.words} words", style="bold")
        if not answer.canonical:
            label.append(" (not canonical)")
    return label
