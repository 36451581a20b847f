"""Public benchmarks of hallucination, one file each: their files, their rules, and ours beside them."""
