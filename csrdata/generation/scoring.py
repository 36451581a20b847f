"""The worker of `score_beams`: it returns the answers in the trees of a shard, with rewards from both scorers.

The held-out scorer is not part of the guidance: a search must not be evaluated only by the score that it maximised.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from csrdata.images import ImageRoot, load_image
from csrdata.records import Fate, Response, Sentence
from csrdata.relevance.base import Scorer
from csrdata.search.responses import responses


def score(
    sentences: Sequence[Sentence],
    *,
    images: Mapping[str, str],
    root: Path | ImageRoot,
    held_out: Scorer,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    aggregate_by: str,
) -> list[Response]:
    """Return the answers of all trees of a shard; a prompt that the policy could not take has none.

    Args:
        sentences: rows of whole trees; the rows of a prompt are consecutive.
        images: the image file of each prompt, by `prompt_id`.
        root: the folder that image paths are relative to.
        held_out: the scorer that the search did not use.
        image_weight, scale, repetition_threshold, aggregate_by: see `csrdata.search.responses.responses`.

    Raises:
        UserError: an image is missing or unreadable.
    """
    searched = [row for row in sentences if row.fate != Fate.REFUSED]
    trees = {prompt_id: list(tree) for prompt_id, tree in groupby(searched, key=lambda row: row.prompt_id)}
    if not trees:
        return []
    image_scores = held_out.open(
        [load_image(images[prompt_id], root=root, place=f"prompt {prompt_id}") for prompt_id in trees]
    )
    with_text = [
        (position, sentence)
        for position, tree in enumerate(trees.values())
        for sentence in tree
        if sentence.relevance is not None
    ]
    scores = image_scores.relevance(
        [position for position, _ in with_text], [sentence.text for _, sentence in with_text]
    )
    relevance = {
        (sentence.prompt_id, sentence.node_id): value
        for (_, sentence), (value, _) in zip(with_text, scores, strict=True)
    }
    return [
        response
        for prompt_id, tree in trees.items()
        for response in responses(
            tree,
            {node.node_id: relevance[prompt_id, node.node_id] for node in tree if node.relevance is not None},
            image_weight=image_weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
            aggregate_by=aggregate_by,
        )
    ]
