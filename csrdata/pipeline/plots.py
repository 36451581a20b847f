"""The files that `dvc plots show` draws: the tables of `evaluation/plots.py` as CSV. The templates are in .dvc/plots."""

from pathlib import Path

import polars as pl

from csrdata import paths
from csrdata.evaluation.plots import plot_tables
from csrdata.evaluation.summary import Summary
from csrdata.storage.tables import atomic_file


def write_plots(summary: Summary, *, folder: Path = paths.PLOTS) -> None:
    """Write each table of the summary as `<folder>/<name>.csv`."""
    for name, rows in plot_tables(summary).items():
        with atomic_file(folder / f"{name}.csv") as partial:
            partial.write_text(pl.DataFrame(rows, infer_schema_length=None).write_csv(), encoding="utf-8")
