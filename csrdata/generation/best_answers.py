"""Best of N at test time: of all answers that a search gives to a prompt, the one with the highest reward.

It spends at test time what Calibrated Self-Rewarding spends on training: the same search, the same reward, and no truth. A
trained policy learns from these answers, so they show how far the reward itself leads.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from csrdata.policy.answering import Reply
from csrdata.records import Fate, Response, Sentence
from csrdata.search.responses import path_to, responses


def best_replies(
    sentences: Iterable[Sentence],
    *,
    image_weight: float,
    scale: str,
    repetition_threshold: float | None,
    aggregate_by: str,
) -> dict[str, Reply]:
    """Return the best answer to each prompt, by `prompt_id`.

    Only finished, canonical answers with words count, as in pairs. Of equal rewards the answer with the lower leaf id is
    taken. A prompt without such an answer, or one that the policy could not take, is left out.

    Args:
        sentences: rows of whole trees, as the search gives them; the rows of a prompt are consecutive.
        image_weight, scale, repetition_threshold, aggregate_by: see `csrdata.search.responses.responses`.
    """
    searched = (row for row in sentences if row.fate != Fate.REFUSED)
    found: dict[str, Reply] = {}
    for prompt_id, rows in groupby(searched, key=lambda row: row.prompt_id):
        tree = list(rows)
        answers = responses(
            tree,
            None,
            image_weight=image_weight,
            scale=scale,
            repetition_threshold=repetition_threshold,
            aggregate_by=aggregate_by,
        )
        eligible = [one for one in answers if one.finished and one.canonical and one.text.strip()]
        if eligible:
            best = min(eligible, key=lambda one: (-one.reward, one.leaf_id))
            found[prompt_id] = _reply(best, tree)
    return found


def _reply(answer: Response, tree: Sequence[Sentence]) -> Reply:
    nodes = {sentence.node_id: sentence for sentence in tree}
    path = path_to(nodes[answer.leaf_id], nodes)
    tokens = tuple(token for sentence in path for token in sentence.token_ids)
    return Reply(text=answer.text, token_ids=tokens, finished=True)
