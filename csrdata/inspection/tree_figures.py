"""One prompt's search tree as plain figures, fit for JSON: every candidate under its parent, and what became of it."""

import math
from collections import defaultdict
from typing import Any

from csrdata.inspection.iteration import SearchTree
from csrdata.records import NO_PARENT, Sentence


def tree_figures(tree: SearchTree, *, iteration: str) -> dict[str, Any]:
    """Return the tree: the prompt, its pair or the reason for none, and the candidates with their answers as `children`.

    Probabilities are 0..1, relevances 0..100; rewards are on the scale of the stage that computed them.
    """
    prompt, pair, dropped = tree.prompt, tree.pair, tree.dropped
    answers = {
        answer.leaf_id: {
            "text": answer.text,
            "words": answer.words,
            "reward": answer.reward,
            "relevance": answer.relevance,
            "finished": answer.finished,
            "canonical": answer.canonical,
        }
        for answer in tree.responses
    }
    children: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for sentence in tree.sentences:
        children[sentence.parent_id].append(
            _candidate(sentence)
            | {"answer": answers.get(sentence.node_id), "children": children[sentence.node_id]}
        )
    return {
        "iteration": iteration,
        "prompt_id": prompt.prompt_id,
        "image": prompt.image,
        "prompt": prompt.text,
        "pair": None
        if pair is None
        else {
            "origin": pair.origin,
            "margin": pair.scores.margin,
            "chosen_leaf": pair.scores.chosen_leaf,
            "rejected_leaf": pair.scores.rejected_leaf,
        },
        "dropped": None if dropped is None else {"reason": dropped.reason, "detail": dropped.detail},
        "candidates": children[NO_PARENT],
    }


def _candidate(sentence: Sentence) -> dict[str, Any]:
    return {
        "node_id": sentence.node_id,
        "depth": sentence.depth,
        "text": sentence.text,
        "probability": math.exp(sentence.logprob),
        "relevance": sentence.relevance,
        "repetition": sentence.repetition,
        "guidance_reward": sentence.guidance_reward,
        "fate": sentence.fate,
        "stop": sentence.stop,
    }
