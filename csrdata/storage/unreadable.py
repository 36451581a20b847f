"""What polars raises for a file that it cannot read."""

import polars as pl

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""A damaged Parquet file can make polars panic, which is no `Exception`."""
