"""Speed and memory, as ratios to other implementations in the same run: `python -m benchmarks.search`."""
