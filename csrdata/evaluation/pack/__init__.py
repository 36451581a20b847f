"""Public benchmarks of hallucination, one file each: their files, their rules, and ours in other columns."""
