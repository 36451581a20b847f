"""The prompts of an iteration in batches: what reads a search holds the answers to one batch at a time."""

from collections.abc import Callable, Iterator, Sequence

from csrdata.records import Prompt
from csrdata.search.pairs import Outcome

Select = Callable[[Sequence[Prompt]], list[Outcome]]
"""Return for each prompt of a batch, in their order, its pairs or the reason for none."""

BATCH = 1000
"""Prompts of a batch: an answer takes about a kilobyte, so 1,000 prompts with 10 answers take 10 MB."""


def batches(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    """Yield the prompts in batches, in their order."""
    for first in range(0, len(prompts), BATCH):
        yield prompts[first : first + BATCH]
