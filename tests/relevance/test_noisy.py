"""Noise on a scorer: the same in every call, of the size that was asked for, and only where the scorer says something."""

from collections.abc import Sequence
from statistics import fmean, stdev

import pytest
from PIL.Image import Image

from csrdata.relevance.base import Relevance
from csrdata.relevance.noisy import Noisy
from tests.tiny import picture

TEXTS = [f"Sentence {number}." for number in range(2000)]


class Constant:
    """Says 50 of every text that is not empty, and nothing of an empty one."""

    def open(self, images: Sequence[Image]) -> "Constant":
        return self

    def relevance(self, owners: Sequence[int], texts: Sequence[str]) -> list[Relevance]:
        return [Relevance(50.0 if text else None, truncated=len(text) > 20) for text in texts]

    def repetition(self, texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> list[float]:
        return [0.25 for _ in texts]


def values(deviation: float, seed: int = 0, *, owner: int = 0, texts: Sequence[str] = TEXTS) -> list[float]:
    """Return the relevance of texts to one of two pictures."""
    scores = Noisy(Constant(), deviation, seed).open([picture(0), picture(1)])
    return [one.value or 0.0 for one in scores.relevance([owner] * len(texts), texts)]


def test_noise_has_the_deviation_and_no_bias() -> None:
    """2,000 sentences: the mean within 4 standard errors of 50, the deviation within 4 of 10."""
    found = values(10.0)
    assert fmean(found) == pytest.approx(50.0, abs=4 * 10 / 2000**0.5)
    assert stdev(found) == pytest.approx(10.0, abs=4 * 10 / (2 * 2000) ** 0.5)


def test_noise_is_of_the_image_the_sentence_and_the_seed() -> None:
    """Another order, another call and space around a sentence change nothing; another image or seed does."""
    assert values(10.0, texts=TEXTS[::-1]) == values(10.0)[::-1]
    assert values(10.0, texts=[f" {text} " for text in TEXTS[:9]]) == values(10.0, texts=TEXTS[:9])
    assert values(10.0, owner=1)[:9] != values(10.0)[:9]
    assert values(10.0, seed=1)[:9] != values(10.0)[:9]


def test_noise_stays_within_0_and_100_and_adds_nothing_to_nothing() -> None:
    """A sentence of which the scorer says nothing has no value; repetition and cuts are the scorer's."""
    found = values(100.0)
    assert (min(found), max(found)) == (0.0, 100.0)
    scores = Noisy(Constant(), 10.0, 0).open([picture(0)])
    empty, long = scores.relevance([0, 0], ["", "A sentence of more than twenty characters."])
    assert empty == Relevance(None, truncated=False)
    assert long.truncated
    assert scores.repetition(["a"], [[]]) == [0.25]
