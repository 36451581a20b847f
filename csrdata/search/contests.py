"""Which two answers to a prompt a policy judges (self-rewarding, section 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from csrdata.records import Fate, Sentence
from csrdata.search.responses import path_to


@dataclass(frozen=True, slots=True)
class Contest:
    """Two answers to one prompt."""

    prompt_id: str
    leaves: tuple[int, int]
    """`node_id`s of their last sentences."""
    texts: tuple[str, str]


def contest(tree: Sequence[Sentence]) -> Contest | None:
    """Return the first two answers of a prompt's tree with different texts; None if it has no two.

    Only finished, canonical answers with words count, as in pairs by reward. They are taken in the order of the rows that
    proposed their sentences: for sampled answers, the order in which they were drawn. The order of leaves would not do,
    because a short answer ends first.

    Args:
        tree: all sentences of one prompt.
    """
    nodes = {sentence.node_id: sentence for sentence in tree}
    paths = [
        path_to(leaf, nodes) for leaf in tree if leaf.fate == Fate.FINISHED.value and leaf.canonical is True
    ]
    paths.sort(key=lambda path: [sentence.group for sentence in path])
    leaf_of: dict[str, int] = {}
    for path in paths:
        text = "".join(sentence.text for sentence in path)
        if text.strip() and text.strip() not in {known.strip() for known in leaf_of}:
            leaf_of[text] = path[-1].node_id
    if len(leaf_of) < 2:
        return None
    (first, one), (second, other) = list(leaf_of.items())[:2]
    return Contest(tree[0].prompt_id, (one, other), (first, second))
