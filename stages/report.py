"""Write the report: one page for a browser with the prompts, pairs, search trees and figures of all iterations.

In: the tables of all iterations, metrics/summary.json, plots/; params.yaml, which the page shows.
Out: data/report/index.html, and its data and images next to it where they are large.
Run: `python stages/report.py`, or through DVC.
"""

from csrdata.pipeline import main

if __name__ == "__main__":
    main("report")
