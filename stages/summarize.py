"""Compare the base and all iterations in one table, each figure with its interval.

In: answers, responses, pairs and metrics of all iterations; params.yaml: summarize.
Out: metrics/summary.json, metrics/summary.md, plots/.
Run: `python stages/summarize.py`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("summarize")
