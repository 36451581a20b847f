"""From a search tree to whole answers: each leaf's path, its texts joined, its rewards aggregated.

Pure: raw components in, `Response` rows out, so that another weight, scale or aggregate needs no model.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from csrdata.records import NO_PARENT, Fate, Response, Sentence
from csrdata.search.reward import aggregate, calibrate, own_relevances
from csrdata.search.words import word_count


def responses(
    tree: Sequence[Sentence],
    held_out: Mapping[int, float],
    *,
    image_weight: float,
    scale: str,
    repeat_similarity: float | None,
    aggregate_by: str,
) -> list[Response]:
    """Return the answers of one prompt's tree, by leaf.

    Args:
        tree: all sentences of the prompt, pruned ones included: `rank` and `zscore` are taken over all of them.
        held_out: R_I by the held-out scorer, 0..100, for every sentence with a text, by `node_id`.
        image_weight: lambda of equation 4, 0..1.
        scale: a `csrdata.search.reward.Scale`.
        repeat_similarity: see `csrdata.search.reward.own_relevances`; what repeats is the search's scorer's to say.
        aggregate_by: `sum` or `mean` over an answer's sentences; the end is none.
    """
    nodes = {sentence.node_id: sentence for sentence in tree}
    spoken = [sentence for sentence in tree if sentence.relevance is not None]

    def rewards(relevances: Sequence[float], weight: float) -> dict[int, float]:
        values = calibrate(
            [sentence.logprob for sentence in spoken],
            [len(sentence.token_ids) for sentence in spoken],
            own_relevances(relevances, redundancies, repeat_similarity=repeat_similarity),
            image_weight=weight,
            scale=scale,
        )
        return {sentence.node_id: value for sentence, value in zip(spoken, values, strict=True)}

    redundancies = [sentence.redundancy or 0.0 for sentence in spoken]
    own = [sentence.relevance for sentence in spoken if sentence.relevance is not None]
    reward = rewards(own, image_weight)
    likelihood = rewards(own, 0.0)
    reward_held_out = rewards([held_out[sentence.node_id] for sentence in spoken], image_weight)
    found = []
    for leaf in tree:
        if leaf.fate not in (Fate.FINISHED, Fate.CUT):
            continue
        path = path_to(leaf, nodes)
        said = [sentence.node_id for sentence in path if sentence.node_id in reward]
        text = "".join(sentence.text for sentence in path)
        found.append(
            Response(
                prompt_id=leaf.prompt_id,
                leaf_id=leaf.node_id,
                text=text,
                words=word_count(text),
                sentences=len(said),
                tokens=sum(len(sentence.token_ids) for sentence in path),
                logprob=sum(sentence.logprob for sentence in path),
                reward=aggregate([reward[node] for node in said], aggregate_by),
                likelihood=aggregate([likelihood[node] for node in said], aggregate_by),
                relevance=fmean(nodes[node].relevance or 0.0 for node in said) if said else 0.0,
                relevance_held_out=fmean(held_out[node] for node in said) if said else 0.0,
                reward_held_out=aggregate([reward_held_out[node] for node in said], aggregate_by),
                finished=leaf.fate == Fate.FINISHED,
                canonical=bool(leaf.canonical),
            )
        )
    return found


def path_to(leaf: Sentence, nodes: Mapping[int, Sentence]) -> list[Sentence]:
    """Return the sentences from the first one to `leaf`."""
    path = [leaf]
    while path[-1].parent_id != NO_PARENT:
        path.append(nodes[path[-1].parent_id])
    return path[::-1]
