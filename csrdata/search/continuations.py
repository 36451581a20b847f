"""Where candidates of a search tree can be compared: the beginnings of its answers, each with what continues it.

Two candidates with the same parent make a `Contrast`, and a contrast a pair: the beginning is its context, the candidates
are its sides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from csrdata.records import NO_PARENT, Fate, Pair, PairScores, Prompt, Sentence, Stop
from csrdata.search.pairs import hashed
from csrdata.search.words import word_count

Values = Mapping[int, float | None]
"""A number for each sentence of a tree, by `node_id`; null or missing where nothing is known."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A beginning of an answer that ends with a whole sentence, tokenised as it was generated, and what continues it."""

    node: int
    """`node_id` of its last sentence; `NO_PARENT` for the empty beginning."""
    text: str
    """The texts of its sentences, joined."""
    candidates: tuple[Sentence, ...]
    """In the order of `node_id`."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two candidates that continue the same beginning, one better than the other."""

    prefix: Prefix
    chosen: Sentence
    rejected: Sentence
    gap: float
    """How far apart they are: the contrasts of a prompt with the largest gaps become pairs."""
    margin: float | None
    """`PairScores.margin`."""
    origin: str
    """`Pair.origin`."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What is known of each sentence of a tree."""

    rewards: Values
    """The calibrated rewards (equation 4), on the scale of `score_beams`."""
    relevances: Values
    """The image term R_I of the reward, 0..100."""


def prefixes(tree: Sequence[Sentence]) -> Iterator[Prefix]:
    """Yield the beginnings of one prompt's tree that have candidates, in the order of `node_id`.

    A beginning that is tokenised otherwise than it was generated is left out, and so is one that a limit of tokens cut
    short: what continues it is the rest of a sentence.

    Args:
        tree: the prompt's sentences, in the order of `node_id`.
    """
    following: dict[int, list[Sentence]] = {}
    texts, usable = {NO_PARENT: ""}, {NO_PARENT: True}
    for sentence in tree:
        if sentence.fate != Fate.REFUSED:
            following.setdefault(sentence.parent_id, []).append(sentence)
        texts[sentence.node_id] = texts[sentence.parent_id] + sentence.text
        usable[sentence.node_id] = bool(sentence.canonical) and sentence.stop == Stop.SENTENCE_END
    for node in sorted(following):
        if usable[node]:
            yield Prefix(node, texts[node], tuple(following[node]))


def is_end(candidate: Sentence) -> bool:
    """Return whether a candidate is the end, and tokenised as it was generated: end-of-sequence is its only token."""
    return candidate.stop == Stop.END and not candidate.text and bool(candidate.canonical)


def is_whole(candidate: Sentence) -> bool:
    """Return whether a candidate is a whole sentence, and tokenised as it was generated.

    It has words, and no limit of tokens cut it short.
    """
    stopped = candidate.stop in (Stop.SENTENCE_END, Stop.END)
    return stopped and bool(candidate.text.strip()) and bool(candidate.canonical)


def is_repetition(candidate: Sentence, threshold: float | None) -> bool:
    """Return whether a sentence repeats an earlier one of its answer: its `repetition` is at or above the threshold.

    A threshold of None turns the rule off.
    """
    return threshold is not None and (candidate.repetition or 0.0) >= threshold


def widest(contrasts: Sequence[Contrast], *, most: int, prompt: Prompt, seed: int) -> list[Contrast]:
    """Return the contrasts of a prompt with the largest gaps, the largest first.

    A hash of seed and ids decides between equal gaps, so that it is not always the first sentences that are compared.

    Args:
        contrasts: at most one per beginning.
        most: how many to return at most, 1 or more.
        prompt: their prompt.
        seed: decides between equal gaps.
    """

    def key(contrast: Contrast) -> tuple[float, bytes, int]:
        node = contrast.prefix.node
        return -contrast.gap, hashed(seed, prompt.prompt_id, node), node

    return sorted(contrasts, key=key)[:most]


def pair_of(contrast: Contrast, prompt: Prompt, scored: Scored) -> Pair:
    """Return a contrast as a pair with the number 0."""
    chosen, rejected = contrast.chosen, contrast.rejected
    return Pair(
        prompt_id=prompt.prompt_id,
        image=prompt.image,
        prompt=prompt.text,
        context=contrast.prefix.text,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_complete=chosen.stop == Stop.END,
        rejected_complete=rejected.stop == Stop.END,
        origin=contrast.origin,
        scores=PairScores(
            chosen_leaf=chosen.node_id,
            rejected_leaf=rejected.node_id,
            chosen_reward=scored.rewards.get(chosen.node_id),
            rejected_reward=scored.rewards.get(rejected.node_id),
            margin=contrast.margin,
            chosen_relevance=scored.relevances.get(chosen.node_id),
            rejected_relevance=scored.relevances.get(rejected.node_id),
            chosen_logprob=chosen.logprob,
            rejected_logprob=rejected.logprob,
            chosen_tokens=len(chosen.token_ids),
            rejected_tokens=len(rejected.token_ids),
            chosen_words=word_count(chosen.text),
            rejected_words=word_count(rejected.text),
            chosen_end=chosen.token_ids[-1] if chosen.stop == Stop.END else None,
            rejected_end=rejected.token_ids[-1] if rejected.stop == Stop.END else None,
        ),
    )
