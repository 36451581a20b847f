"""Pairs of every form: two answers, two sentences, and a sentence against the end, several of one prompt."""

import dataclasses

from csrdata.records import CORRUPTED, CSR_ENDS, CSR_SEARCH, CSR_SENTENCES, Pair, PairScores

OPENING = " There is a red circle at the top."
NEXT, OTHER = " A star sits in the middle.", " We find a ring on the left."
CONTINUED = (
    (CSR_SENTENCES, {"context": OPENING, "chosen": NEXT, "rejected": OTHER}, (False, False)),
    (CSR_ENDS, {"context": OPENING, "chosen": NEXT, "rejected": ""}, (False, True)),
    (CSR_ENDS, {"context": f"{OPENING}{NEXT}", "chosen": "", "rejected": OTHER}, (True, False)),
    (CSR_SENTENCES, {"context": OPENING, "chosen": NEXT, "rejected": NEXT}, (True, False)),
    (CSR_SENTENCES, {"context": "", "chosen": OPENING, "rejected": OTHER}, (False, False)),
)
"""Origin, texts, and whether chosen and rejected end the answer."""


def continued_pairs(whole: Pair) -> list[Pair]:
    """Return the pairs of one prompt: `whole`, a corrupted one, and one of each row of `CONTINUED`."""
    bare = dataclasses.replace(whole, scores=PairScores())
    found = [
        dataclasses.replace(whole, origin=CSR_SEARCH),
        dataclasses.replace(bare, rejected=f"{whole.chosen} A bar is on the right.", origin=CORRUPTED),
    ]
    for origin, texts, (chosen, rejected) in CONTINUED:
        found.append(
            dataclasses.replace(
                bare, **texts, origin=origin, chosen_complete=chosen, rejected_complete=rejected
            )
        )
    return [dataclasses.replace(pair, number=number) for number, pair in enumerate(found)]
