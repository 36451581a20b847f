"""The files that `dvc plots show` draws: the tables of `evaluation/plots.py` as CSV. The templates are in .dvc/plots."""

from pathlib import Path

import polars as pl

from csrdata import paths
from csrdata.evaluation.plots import (
    CURVE_COLUMNS,
    FIGURE_COLUMNS,
    PAIR_REWARDS,
    RECALL_CURVE,
    REWARD_COLUMNS,
    plot_tables,
)
from csrdata.evaluation.summary import Summary
from csrdata.storage.tables import atomic_file


def write_plots(summary: Summary, *, folder: Path = paths.PLOTS) -> None:
    """Write each table of the summary as `<folder>/<name>.csv`, and remove the tables of earlier summaries."""
    tables = plot_tables(summary)
    for name, rows in tables.items():
        columns = {PAIR_REWARDS: REWARD_COLUMNS, RECALL_CURVE: CURVE_COLUMNS}.get(name, FIGURE_COLUMNS)
        table = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=columns)
        with atomic_file(folder / f"{name}.csv") as partial:
            partial.write_text(table.write_csv(), encoding="utf-8")
    for path in folder.glob("*.csv"):
        if path.stem not in tables:
            path.unlink()
