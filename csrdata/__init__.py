"""csrdata: preference datasets for vision-language models by Calibrated Self-Rewarding (arXiv 2405.14622)."""

__version__ = "0.1.0"
