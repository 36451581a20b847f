"""Settings of the loss, for tests that train."""

from typing import Any

DPO: dict[str, Any] = {
    "loss": "sigmoid",
    "dpo_weight": 1.0,
    "label_smoothing": 0.0,
    "ld_alpha": None,
    "margin": "none",
    "margin_scale": 1.0,
    "beta": 0.1,
    "sft_weight": 0.0,
}
"""Equation 1 alone."""
