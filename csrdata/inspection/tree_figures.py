"""One prompt's search tree as plain records, fit for JSON: every candidate under its parent, and what became of it.

Probabilities are 0..1, relevances 0..100; rewards are on the scale of the stage that computed them.
`csrdata.text.json_text` turns the records into JSON, whose keys are the names of the fields.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

from csrdata.inspection.search_tree import SearchTree
from csrdata.records import NO_PARENT, Dropped, Pair, Response, Sentence
from csrdata.search.pairs import form


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """The answer that ends at a candidate."""

    text: str
    words: int
    reward: float
    relevance: float
    finished: bool
    canonical: bool
    """The text is tokenised as it was generated."""


@dataclass(frozen=True, slots=True)
class CandidateFigures:
    """One candidate sentence with those that continue it."""

    node_id: int
    depth: int
    text: str
    probability: float
    relevance: float | None
    repetition: float | None
    """0..1: the largest cosine similarity to an earlier sentence of the answer."""
    guidance_reward: float | None
    fate: str
    stop: str
    answer: AnswerFigures | None
    """None for a candidate that ends no answer."""
    children: list["CandidateFigures"]
    """In the order of their creation."""


@dataclass(frozen=True, slots=True)
class PairOfTree:
    """One of the prompt's preference pairs, by the last sentences of its sides; what is unknown is None."""

    number: int
    origin: str
    form: str
    """A `csrdata.search.pairs.Form`."""
    margin: float | None
    context: str
    """What both sides continue; empty for whole answers."""
    chosen_leaf: int | None
    rejected_leaf: int | None


@dataclass(frozen=True, slots=True)
class ReasonOfTree:
    """Why the prompt has no pair, or why a pair was taken out."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class TreeFigures:
    """A prompt, its pairs or the reason for none, and its candidates from the first sentences down."""

    iteration: str
    prompt_id: str
    image: str
    prompt: str
    pairs: list[PairOfTree]
    dropped: ReasonOfTree | None
    removed: list[ReasonOfTree]
    """The pairs that curation took out; a detail has the pair's number before curation."""
    candidates: list[CandidateFigures]


def tree_figures(tree: SearchTree, *, iteration: str) -> TreeFigures:
    """Return a search tree's figures."""
    answers = {answer.leaf_id: _answer(answer) for answer in tree.responses}
    children: dict[int, list[CandidateFigures]] = defaultdict(list)
    for sentence in tree.sentences:
        children[sentence.parent_id].append(
            _candidate(sentence, answer=answers.get(sentence.node_id), children=children[sentence.node_id])
        )
    return TreeFigures(
        iteration=iteration,
        prompt_id=tree.prompt.prompt_id,
        image=tree.prompt.image,
        prompt=tree.prompt.text,
        pairs=[_pair(pair) for pair in tree.pairs],
        dropped=None if tree.dropped is None else _reason(tree.dropped),
        removed=[_reason(row) for row in tree.removed],
        candidates=children[NO_PARENT],
    )


def _candidate(
    sentence: Sentence, *, answer: AnswerFigures | None, children: list[CandidateFigures]
) -> CandidateFigures:
    return CandidateFigures(
        node_id=sentence.node_id,
        depth=sentence.depth,
        text=sentence.text,
        probability=math.exp(sentence.logprob),
        relevance=sentence.relevance,
        repetition=sentence.repetition,
        guidance_reward=sentence.guidance_reward,
        fate=sentence.fate,
        stop=sentence.stop,
        answer=answer,
        children=children,
    )


def _answer(response: Response) -> AnswerFigures:
    return AnswerFigures(
        text=response.text,
        words=response.words,
        reward=response.reward,
        relevance=response.relevance,
        finished=response.finished,
        canonical=response.canonical,
    )


def _pair(pair: Pair) -> PairOfTree:
    scores = pair.scores
    return PairOfTree(
        number=pair.number,
        origin=pair.origin,
        form=form(pair).value,
        margin=scores.margin,
        context=pair.context,
        chosen_leaf=scores.chosen_leaf,
        rejected_leaf=scores.rejected_leaf,
    )


def _reason(dropped: Dropped) -> ReasonOfTree:
    return ReasonOfTree(reason=dropped.reason, detail=dropped.detail)
