"""How much better a sentence fits its own image than others, and the pairs of sentences that this decides.

    evidence(s) = R_I(s, its image) - mean R_I(s, images of other prompts)

R_I alone has no zero: a scorer gives some sentences high values with any image. Above 0, a sentence fits its own image
better than others; below 0, it would fit almost any image, or another one. A repetition adds nothing to its answer: its
evidence is 0.

Of the sentences that continue the same beginning, one that the evidence supports is chosen, and one that it does not support
is rejected. Of each kind it is the most probable one: what the policy would say. A sentence that only a large diversity
penalty made teaches little, and pushing it down spoils the language of the policy.
"""

from collections.abc import Sequence

from csrdata.records import CSR_SENTENCES, Sentence
from csrdata.search.continuations import Contrast, Prefix, Values, is_repetition, is_whole


def evidence(sentence: Sentence, elsewhere: Values) -> float | None:
    """Return the evidence for a sentence that is not a repetition, -100..100; None where a term is not known.

    Args:
        sentence: with its R_I, 0..100, by the search's scorer.
        elsewhere: mean R_I of the tree's sentences with images of other prompts, 0..100, by the same scorer.
    """
    other = elsewhere.get(sentence.node_id)
    return None if other is None or sentence.relevance is None else sentence.relevance - other


def evidence_contrast(
    prefix: Prefix,
    elsewhere: Values,
    *,
    chosen_share: float,
    rejected_share: float,
    repetition_threshold: float | None,
) -> Contrast | None:
    """Return a sentence that the evidence supports against one that it does not, or None if there are no two such.

    Args:
        prefix: the beginning and all its candidates.
        elsewhere: see `evidence`.
        chosen_share: of the most evidence at this beginning, 0..1: what a chosen sentence has at least.
        rejected_share: of the same, 0..1, below `chosen_share`: what a rejected one has at most.
        repetition_threshold: see `csrdata.search.continuations.is_repetition`.

    Example: evidence 30, 24, 2 and -5 with log-probabilities -4, -2, -6 and -3, shares 0.67 and 0.33 -> the second against
        the fourth, with a gap of 29
    """
    known = [
        (one, value)
        for one in prefix.candidates
        if is_whole(one) and (value := _with_repetitions(one, elsewhere, repetition_threshold)) is not None
    ]
    most = max((value for _, value in known), default=0.0)
    if most <= 0:
        return None
    chosen = _likeliest([(one, value) for one, value in known if value >= chosen_share * most])
    rejected = _likeliest([(one, value) for one, value in known if value <= rejected_share * most])
    if chosen is None or rejected is None:
        return None
    gap = chosen[1] - rejected[1]
    return Contrast(prefix, chosen[0], rejected[0], gap=gap, margin=gap, origin=CSR_SENTENCES)


def _with_repetitions(sentence: Sentence, elsewhere: Values, threshold: float | None) -> float | None:
    return 0.0 if is_repetition(sentence, threshold) else evidence(sentence, elsewhere)


def _likeliest(sentences: Sequence[tuple[Sentence, float]]) -> tuple[Sentence, float] | None:
    """Return the most probable sentence with its evidence, the lower node among equal ones; None of none."""
    return max(sentences, key=lambda known: (known[0].logprob, -known[0].node_id), default=None)
