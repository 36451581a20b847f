"""The card's words for how a policy was trained."""

from typing import Any

import pytest

from csrdata.publishing.card.method import method

SETTINGS = {"loss": "sigmoid", "dpo_weight": 1.0, "ld_alpha": None, "margin": "none", "sft_weight": 0.0}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "DPO"),
        ({"sft_weight": 3.0}, "DPO plus 3 times the chosen answers' mean token loss"),
        ({"dpo_weight": 0.0, "sft_weight": 1.0}, "fine-tuning on the chosen answers alone"),
        ({"loss": "ipo"}, "DPO with the loss `ipo`"),
        ({"margin": "weight"}, "DPO, each pair weighted by its margin"),
        ({"margin": "target"}, "DPO, with each pair's margin as the target"),
        ({"ld_alpha": 0.5}, "DPO, the tokens beyond the shorter answer's length weighted 0.5"),
    ],
)
def test_each_way_of_training_has_its_words(changed: dict[str, Any], words: str) -> None:
    """Loss, margins, length and anchor are named where they differ from equation 1 alone."""
    assert method({**SETTINGS, **changed}) == words


def test_earlier_versions_trained_by_dpo() -> None:
    """Parameters of an earlier version, or none at all, mean DPO."""
    assert method({"beta": 0.1, "sft_weight": 3.0}).startswith("DPO plus 3 times")
    assert method(None) == "DPO"
