"""The whole answers of a search tree: for each leaf, the joined texts and the aggregated rewards of its path.

Rewards are computed from stored raw components, so a change of weight, scale or aggregate needs no model.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from csrdata.records import NO_PARENT, Fate, Response, Sentence
from csrdata.search.reward import aggregate, calibrate, without_repetitions
from csrdata.search.words import word_count


def responses(
    tree: Sequence[Sentence],
    held_out: Mapping[int, float],
    *,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    aggregate_by: str,
) -> list[Response]:
    """Return the answers of one prompt's tree, one per leaf, in the order of `tree`.

    Args:
        tree: all sentences of the prompt, including pruned ones, because `rank` and `zscore` are relative to all of them.
        held_out: R_I from the held-out scorer, 0..100, by `node_id`, for every sentence with a text.
        image_weight: lambda of equation 4, 0..1.
        scale: a `csrdata.search.reward.Scale`.
        repetition_threshold: see `csrdata.search.reward.without_repetitions`; repetition is measured by the search's scorer.
        aggregate_by: `sum` or `mean` over an answer's sentences, without the end.

    Raises:
        ValueError: a parent is not an earlier sentence of the tree.
    """
    nodes = {sentence.node_id: sentence for sentence in tree}
    with_text = [sentence for sentence in tree if sentence.relevance is not None]

    def rewards(relevances: Sequence[float], weight: float) -> dict[int, float]:
        values = calibrate(
            [sentence.logprob for sentence in with_text],
            [len(sentence.token_ids) for sentence in with_text],
            without_repetitions(relevances, repetitions, repetition_threshold=repetition_threshold),
            image_weight=weight,
            scale=scale,
        )
        return {sentence.node_id: value for sentence, value in zip(with_text, values, strict=True)}

    repetitions = [sentence.repetition or 0.0 for sentence in with_text]
    own = [sentence.relevance for sentence in with_text if sentence.relevance is not None]
    reward = rewards(own, image_weight)
    likelihood = rewards(own, 0.0)
    reward_held_out = rewards([held_out[sentence.node_id] for sentence in with_text], image_weight)
    answers = []
    for leaf in tree:
        if leaf.fate not in (Fate.FINISHED, Fate.CUT):
            continue
        path = path_to(leaf, nodes)
        scored = [sentence.node_id for sentence in path if sentence.node_id in reward]
        text = "".join(sentence.text for sentence in path)
        answers.append(
            Response(
                prompt_id=leaf.prompt_id,
                leaf_id=leaf.node_id,
                text=text,
                words=word_count(text),
                sentences=len(scored),
                tokens=sum(len(sentence.token_ids) for sentence in path),
                logprob=sum(sentence.logprob for sentence in path),
                reward=aggregate([reward[node] for node in scored], aggregate_by),
                likelihood=aggregate([likelihood[node] for node in scored], aggregate_by),
                relevance=fmean(nodes[node].relevance or 0.0 for node in scored) if scored else 0.0,
                relevance_held_out=fmean(held_out[node] for node in scored) if scored else 0.0,
                reward_held_out=aggregate([reward_held_out[node] for node in scored], aggregate_by),
                finished=leaf.fate == Fate.FINISHED,
                end=leaf.token_ids[-1] if leaf.fate == Fate.FINISHED else None,
                canonical=bool(leaf.canonical),
            )
        )
    return answers


def path_to(leaf: Sentence, nodes: Mapping[int, Sentence]) -> list[Sentence]:
    """Return the sentences of an answer, from the first one to `leaf`.

    Raises:
        ValueError: a parent is not an earlier sentence of the tree; the path would have no end.
    """
    path = [leaf]
    while (parent := path[-1].parent_id) != NO_PARENT:
        if parent >= path[-1].node_id or parent not in nodes:
            node = f"prompt {leaf.prompt_id}: sentence {path[-1].node_id}"
            raise ValueError(f"{node}: the parent is {parent}, expected an earlier sentence of the tree")
        path.append(nodes[parent])
    return path[::-1]
