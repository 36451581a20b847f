"""The whole answers of a search tree: for each leaf, the joined texts and the aggregated rewards of its path.

Rewards are computed from stored raw components, so a change of weight, scale or aggregate needs no model.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from csrdata.records import NO_PARENT, Fate, Response, Sentence
from csrdata.search.reward import aggregate, calibrate, without_gaps, without_repetitions
from csrdata.search.words import word_count


def responses(
    tree: Sequence[Sentence],
    held_out: Mapping[int, float] | None,
    *,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    aggregate_by: str,
) -> list[Response]:
    """Return the answers of one prompt's tree, one per leaf, in the order of `tree`.

    Args:
        tree: all sentences of the prompt, including pruned ones, because `rank` and `zscore` are relative to all of them.
        held_out: R_I from the held-out scorer, 0..100, by `node_id`, for every sentence with a text; None without
            such a scorer.
        image_weight: lambda of equation 4, 0..1.
        scale: a `csrdata.search.reward.Scale`.
        repetition_threshold: see `csrdata.search.reward.without_repetitions`; repetition is measured by the search's scorer.
        aggregate_by: `sum` or `mean` over an answer's sentences, without the end.

    Raises:
        ValueError: a parent is not an earlier sentence of the tree.
    """
    nodes = {sentence.node_id: sentence for sentence in tree}
    own = {sentence.node_id: each for sentence in tree if (each := sentence.relevance) is not None}

    def rewards(relevances: Mapping[int, float | None], weight: float) -> dict[int, float]:
        return sentence_rewards(
            tree,
            relevances,
            image_weight=weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
        )

    reward = rewards(own, image_weight)
    likelihood = rewards(own, 0.0)
    reward_held_out = None if held_out is None else rewards(held_out, image_weight)
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
                relevance=_mean([nodes[node].relevance or 0.0 for node in scored]),
                relevance_held_out=None if held_out is None else _mean([held_out[node] for node in scored]),
                reward_held_out=None
                if reward_held_out is None
                else aggregate([reward_held_out[node] for node in scored], aggregate_by),
                finished=leaf.fate == Fate.FINISHED,
                end=leaf.token_ids[-1] if leaf.fate == Fate.FINISHED else None,
                canonical=bool(leaf.canonical),
            )
        )
    return answers


def sentence_rewards(
    tree: Sequence[Sentence],
    relevances: Mapping[int, float | None],
    *,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
) -> dict[int, float]:
    """Return the calibrated reward (equation 4) of each sentence with a text, by `node_id`.

    Args:
        tree: as in `responses`.
        relevances: the image term R_I, 0..100, by `node_id`, for every sentence with a text; None where it says nothing of
            the sentence, which then has the mean of the others (`csrdata.search.reward.without_gaps`).
        image_weight, scale, repetition_threshold: as in `responses`.
    """
    with_text = [sentence for sentence in tree if sentence.relevance is not None]
    values = calibrate(
        [sentence.logprob for sentence in with_text],
        [len(sentence.token_ids) for sentence in with_text],
        without_repetitions(
            without_gaps([relevances[sentence.node_id] for sentence in with_text]),
            [sentence.repetition or 0.0 for sentence in with_text],
            repetition_threshold=repetition_threshold,
        ),
        image_weight=image_weight,
        scale=scale,
    )
    return {sentence.node_id: value for sentence, value in zip(with_text, values, strict=True)}


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


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
