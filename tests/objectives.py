"""Settings of the loss and of training, for tests that train."""

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
TINY: dict[str, Any] = {
    "accumulation": 1,
    "warmup_share": 0.0,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "reference_tolerance": 1e-4,
    "gradient_checkpointing": False,
    "seed": 0,
    "progress": False,
}
"""The rest of what `train` is told about a tiny policy, but learning rate, epochs and batch."""
