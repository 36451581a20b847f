"""The files that `dvc plots show` draws: the tables of `evaluation/plots.py` and the analyses as CSV.

The templates are in .dvc/plots.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from csrdata import paths
from csrdata.evaluation.plots import (
    CURVE_COLUMNS,
    FIGURE_COLUMNS,
    PAIR_REWARDS,
    RECALL_CURVE,
    REWARD_COLUMNS,
    Table,
    plot_tables,
)
from csrdata.evaluation.summary import Summary
from csrdata.storage.tables import atomic_file


def write_plots(summary: Summary, analyses: Mapping[str, Table], *, folder: Path = paths.PLOTS) -> None:
    """Write each table of the summary and of the analyses as `<folder>/<name>.csv`, and remove earlier tables."""
    columns = {PAIR_REWARDS: REWARD_COLUMNS, RECALL_CURVE: CURVE_COLUMNS}
    own = {
        name: Table(columns.get(name, FIGURE_COLUMNS), rows) for name, rows in plot_tables(summary).items()
    }
    tables = {**own, **analyses}
    for name, one in tables.items():
        rows = [{column: row[column] for column in one.columns} for row in one.rows]
        table = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=one.columns)
        with atomic_file(folder / f"{name}.csv") as partial:
            partial.write_text(table.write_csv(), encoding="utf-8")
    for path in folder.glob("*.csv"):
        if path.stem not in tables:
            path.unlink()
