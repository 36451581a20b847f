"""Whether an answer should end at a beginning or go on, by the evidence for what it would say next.

A likelihood cannot tell: a policy ends where its training answers ended, and invents another sentence where they went on.
The reward cannot either, as the end has no relevance. But the image can speak for the next sentence or against it
(`csrdata.search.evidence`). A repetition adds nothing, so nothing speaks for it. Where the policy proposed the end next to
sentences,

- some sentence has evidence of `end_gap` or more: going on is better. Chosen is the sentence with the most evidence,
  rejected is the end;
- every sentence has evidence of `-end_gap` or less, or is a repetition: ending is better. Chosen is the end, rejected is the
  most probable sentence, because that is what the policy would say next;
- otherwise the evidence does not decide, and there is no pair.
"""

from collections.abc import Sequence

from csrdata.records import CSR_ENDS, NO_PARENT, Sentence
from csrdata.search.continuations import Contrast, Prefix, Values, is_end, is_repetition, is_whole
from csrdata.search.evidence import evidence as evidence_of


def end_contrast(
    prefix: Prefix,
    elsewhere: Values,
    *,
    end_gap: float,
    repetition_threshold: float | None,
    go_on: bool = True,
) -> Contrast | None:
    """Return the end against a sentence at one beginning, or None if the evidence does not decide.

    A beginning without words never ends: an empty answer is no answer.

    Args:
        prefix: the beginning and all its candidates.
        elsewhere: mean R_I with images of other prompts, 0..100, by the search's scorer.
        end_gap: least evidence for or against, 0..100; evidence of 0 decides nothing.
        repetition_threshold: see `csrdata.search.continuations.is_repetition`.
        go_on: whether a sentence may win; without it, the end wins or there is no pair.

    Example: the end and sentences with evidence 6 and -9, end_gap 5 -> the first sentence against the end; with evidence -6
        and -9 -> the end against the more probable one; with evidence 3 and -9 -> None
    """
    end = next((candidate for candidate in prefix.candidates if is_end(candidate)), None)
    if end is None or prefix.node == NO_PARENT or not prefix.text.strip():
        return None
    said = [candidate for candidate in prefix.candidates if candidate.text.strip()]
    new = [candidate for candidate in said if not is_repetition(candidate, repetition_threshold)]
    evidence = {candidate.node_id: evidence_of(candidate, elsewhere) for candidate in new}
    if going_on := _best(new, evidence):
        gap = evidence[going_on.node_id]
        if gap is not None and gap > 0 and gap >= end_gap:
            return Contrast(prefix, going_on, end, gap=gap, margin=gap, origin=CSR_ENDS) if go_on else None
    if all(each is not None and each < 0 and each <= -end_gap for each in evidence.values()):
        rejected = max(filter(is_whole, said), key=lambda one: (one.logprob, -one.node_id), default=None)
        if rejected is not None:
            against = evidence.get(rejected.node_id)
            gap = (elsewhere.get(rejected.node_id) or 0.0) if against is None else -against
            return Contrast(prefix, end, rejected, gap=gap, margin=gap, origin=CSR_ENDS)
    return None


def _best(sentences: Sequence[Sentence], evidence: Values) -> Sentence | None:
    """Return the whole sentence with the most evidence, the lower node among equal ones; None without any."""
    known = [
        (each, one) for one in sentences if is_whole(one) and (each := evidence[one.node_id]) is not None
    ]
    return max(known, key=lambda found: (found[0], -found[1].node_id))[1] if known else None
