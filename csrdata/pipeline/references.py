"""The table of an iteration's pairs under the policy that training starts from.

`train_dpo` writes it, `summarize` reads it.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from csrdata.errors import UserError
from csrdata.policy.sides import Reference
from csrdata.storage.tables import check_schema, read_parquet, write_table

_SCHEMA = {
    "prompt_id": pl.String(),
    "number": pl.Int64(),
    "chosen_logprob": pl.Float64(),
    "rejected_logprob": pl.Float64(),
    "chosen_tokens": pl.Int64(),
    "rejected_tokens": pl.Int64(),
}


def write_references(path: Path, rows: Iterable[Reference]) -> None:
    """Write the rows as a table."""
    write_table(path, pl.DataFrame([dataclasses.asdict(row) for row in rows], schema=_SCHEMA))


def read_references(path: Path, *, made_by: str) -> list[Reference]:
    """Return the rows; none if training needed no reference.

    Args:
        path: the table.
        made_by: the command that makes it, as an error's next command.

    Raises:
        UserError: the table is missing, damaged or changed, or a value is null, not finite, or a number of tokens below 1.
    """
    table = read_parquet(path, made_by=made_by)
    check_schema(table, _SCHEMA, place=str(path), made_by=made_by)
    table = table.select(list(_SCHEMA))
    numbers = pl.col("chosen_logprob", "rejected_logprob").is_finite()
    good = table.filter(
        pl.all_horizontal(pl.all().is_not_null(), numbers, pl.col("chosen_tokens", "rejected_tokens") >= 1)
    )
    if len(good) < len(table):
        got = f"{len(table) - len(good)} rows without finite log-probabilities and tokens"
        raise UserError(str(path), got=got, expected="both in each row", do=made_by)
    return [Reference(**row) for row in table.iter_rows(named=True)]
