"""Evidence for a sentence, and the pairs it decides: each case of the rule on one beginning, by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from csrdata.records import NO_PARENT, Sentence, Stop
from csrdata.search.continuations import Prefix
from csrdata.search.evidence import evidence, evidence_contrast
from tests.search.trees import end, node

ELSEWHERE: Mapping[int, float | None] = dict.fromkeys(range(20), 20.0)
"""Images of other prompts: 20 for every sentence, so that the evidence of a sentence is its R_I minus 20."""


def decided(candidates: Sequence[Sentence], **changes: Any) -> tuple[int, int, float] | None:
    """Return the nodes of the chosen and the rejected sentence, and the gap."""
    settings: dict[str, Any] = {"chosen_share": 0.67, "rejected_share": 0.33, "repetition_threshold": 0.6}
    prefix = Prefix(NO_PARENT, "", tuple(candidates))
    found = evidence_contrast(prefix, changes.pop("elsewhere", ELSEWHERE), **settings | changes)
    if found is None:
        return None
    assert found.margin == found.gap
    assert found.origin == "csr_sentences"
    return found.chosen.node_id, found.rejected.node_id, found.gap


def sentence(number: int, relevance: float, logprob: float, **changes: Any) -> Sentence:
    return node(number, NO_PARENT, f" Text {number}.", relevance, logprob=logprob, **changes)


def test_evidence_is_relevance_less_its_mean_elsewhere() -> None:
    """R_I 30 and 22.5 elsewhere: 7.5; without either term, nothing is known."""
    assert evidence(sentence(0, 30.0, -1.0), {0: 22.5}) == 7.5
    assert evidence(sentence(0, 30.0, -1.0), {}) is None
    assert evidence(sentence(0, 30.0, -1.0), {0: None}) is None
    assert evidence(end(0, NO_PARENT), {0: 1.0}) is None


def test_the_likeliest_of_each_kind_is_a_side() -> None:
    """Evidence 30, 24, 12, 2 and -5: the second is likelier than the first, the fifth than the fourth; the third is neither."""
    candidates = [
        sentence(0, 50.0, -4.0),
        sentence(1, 44.0, -2.0),
        sentence(2, 32.0, -0.1),
        sentence(3, 22.0, -6.0),
        sentence(4, 15.0, -3.0),
    ]
    assert decided(candidates) == (1, 4, 29.0)
    assert decided(candidates, chosen_share=1.0) == (0, 4, 35.0)
    assert decided(candidates, rejected_share=0.4) == (1, 2, 12.0)
    assert decided(candidates, rejected_share=0.0) == (1, 4, 29.0)


def test_without_evidence_for_a_sentence_nothing_is_decided() -> None:
    """All at 0 or below, or all supported: no pair."""
    assert decided([sentence(0, 20.0, -1.0), sentence(1, 2.0, -1.0)]) is None
    assert decided([sentence(0, 50.0, -1.0), sentence(1, 45.0, -1.0)]) is None
    assert decided([sentence(0, 50.0, -1.0)]) is None
    assert decided([]) is None


def test_nothing_speaks_for_a_repetition() -> None:
    """It has evidence 0, whatever its R_I: it loses to new words and is never chosen; without the rule it may be."""
    again = sentence(0, 90.0, -0.5, repetition=0.6)
    assert decided([again, sentence(1, 50.0, -3.0)]) == (1, 0, 30.0)
    assert decided([again, sentence(1, 15.0, -3.0)]) is None
    assert decided([again, sentence(1, 15.0, -3.0)], repetition_threshold=None) == (0, 1, 75.0)


def test_what_is_cut_short_or_unknown_is_no_side() -> None:
    """The likeliest sentence was cut short, tokenised otherwise, the end, or has no value elsewhere: the next one is taken."""
    good, bad = sentence(0, 50.0, -3.0), sentence(1, 10.0, -4.0)
    for other in (
        sentence(2, 10.0, -1.0, stop=Stop.SENTENCE_LIMIT),
        sentence(2, 10.0, -1.0, canonical=False),
        end(2, NO_PARENT),
        sentence(30, 10.0, -1.0),
    ):
        assert decided([good, bad, other]) == (0, 1, 40.0)


def test_equally_probable_sentences_go_to_the_lower_node() -> None:
    """Of two supported and two unsupported sentences with equal log-probabilities, the first of each is a side."""
    candidates = [sentence(number, 50.0 if number < 2 else 10.0, -1.0) for number in range(4)]
    assert decided(candidates) == (0, 2, 40.0)
