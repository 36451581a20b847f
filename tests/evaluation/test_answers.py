"""The relevance of whole descriptions."""

from pathlib import Path

import pytest

from csrdata.evaluation.answers import mean_relevance
from csrdata.relevance.open_clip import OpenClipScorer, load_open_clip
from tests.relevance.test_open_clip import save_tiny_clip
from tests.tiny import picture


@pytest.fixture
def scorer(tmp_path: Path) -> OpenClipScorer:
    save_tiny_clip(tmp_path)
    return load_open_clip(tmp_path)


def test_the_mean_is_over_an_answers_own_sentences(scorer: OpenClipScorer) -> None:
    """Each sentence is scored with the image of its answer; an answer without words has no relevance."""
    texts = ["A dog runs. A cat sleeps.", "", "A dog runs."]
    images = [picture(0), picture(1), picture(2)]
    both, nothing, one = mean_relevance(scorer, images, texts)
    expected = scorer.open(images).relevance([0, 0, 2], ["A dog runs.", "A cat sleeps.", "A dog runs."])
    (first, _), (second, _), (third, _) = expected
    assert (both, nothing, one) == (
        pytest.approx((first + second) / 2, abs=1e-4),
        None,
        pytest.approx(third, abs=1e-4),
    )


def test_no_words_at_all(scorer: OpenClipScorer) -> None:
    """If there is nothing to score, there is no error."""
    assert mean_relevance(scorer, [picture(0)], [" "]) == [None]
