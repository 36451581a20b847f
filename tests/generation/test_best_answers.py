"""The best answer of a search: by hand on a small tree, and as a policy's answers to evaluation questions."""

from dataclasses import replace

import pytest

from csrdata.generation.best_answers import best_replies
from csrdata.records import NO_PARENT, Fate, Sentence, Stop


def _node(
    node_id: int,
    parent: int,
    text: str,
    *,
    relevance: float | None,
    fate: Fate,
    tokens: tuple[int, ...],
    prompt: str = "p",
) -> Sentence:
    leaf = fate in (Fate.FINISHED, Fate.CUT)
    return Sentence(
        prompt_id=prompt,
        node_id=node_id,
        parent_id=parent,
        depth=1,
        group=0,
        text=text,
        token_ids=list(tokens),
        logprob=-1.0,
        relevance=relevance,
        relevance_truncated=False,
        repetition=None if relevance is None else 0.0,
        guidance_reward=relevance,
        stop=Stop.SENTENCE_END,
        fate=fate,
        canonical=True if leaf else None,
    )


# Answers: "A." (sum 40, mean 40), "A. B." (60, 30), "C." cut at 90.
TREE = [
    _node(0, NO_PARENT, " A.", relevance=40.0, fate=Fate.KEPT_BEST, tokens=(10, 11)),
    _node(1, NO_PARENT, " C.", relevance=90.0, fate=Fate.CUT, tokens=(12,)),
    _node(2, 0, "", relevance=None, fate=Fate.FINISHED, tokens=(2,)),
    _node(3, 0, " B.", relevance=20.0, fate=Fate.KEPT_BEST, tokens=(13, 14)),
    _node(4, 3, "", relevance=None, fate=Fate.FINISHED, tokens=(3,)),
]


def _best(tree: list[Sentence], *, how: str = "sum") -> dict[str, tuple[str, tuple[int, ...], bool]]:
    found = best_replies(tree, image_weight=1.0, scale="raw", repetition_threshold=None, aggregate_by=how)
    return {name: (reply.text, reply.token_ids, reply.finished) for name, reply in found.items()}


@pytest.mark.parametrize(
    ("how", "expected"),
    [("sum", (" A. B.", (10, 11, 13, 14, 3), True)), ("mean", (" A.", (10, 11, 2), True))],
)
def test_the_finished_answer_with_the_highest_reward_is_taken(
    how: str, expected: tuple[str, tuple[int, ...], bool]
) -> None:
    """By the sum of R_I the longer answer, by the mean the shorter; the cut one has the highest and never counts."""
    assert _best(TREE, how=how) == {"p": expected}


def test_an_answer_that_training_would_read_otherwise_does_not_count() -> None:
    """Only canonical answers, as in pairs; of equal rewards the lower leaf."""
    tree = [*TREE[:4], replace(TREE[4], canonical=False)]
    assert _best(tree) == {"p": (" A.", (10, 11, 2), True)}
    equal = [*TREE[:3], replace(TREE[3], relevance=0.0), TREE[4]]
    assert _best(equal) == {"p": (" A.", (10, 11, 2), True)}


def test_a_prompt_without_an_answer_is_left_out() -> None:
    """A search that finds nothing finished, an answer without words, a refused prompt: none has a best answer."""
    cut = _node(0, NO_PARENT, " A.", relevance=40.0, fate=Fate.CUT, tokens=(5,), prompt="cut")
    silent = _node(0, NO_PARENT, "", relevance=None, fate=Fate.FINISHED, tokens=(2,), prompt="silent")
    refused = replace(
        _node(0, NO_PARENT, "too long", relevance=None, fate=Fate.REFUSED, tokens=(), prompt="refused"),
        stop=Stop.TOO_LONG,
    )
    assert _best([cut, *TREE, refused, silent]) == {"p": (" A. B.", (10, 11, 13, 14, 3), True)}
