"""Counts of the funnel: what became of every prompt, candidate and answer of a series."""

from dataclasses import dataclass

import polars as pl

from csrdata.report.series import SeriesReader


@dataclass(frozen=True, slots=True)
class Funnel:
    """The counts of a series."""

    prompts: int
    pairs: int
    with_pairs: int
    """Prompts with a pair or more."""
    reasons: dict[str, int]
    """Prompts without a pair, by `DropReason`."""
    fates: dict[str, int]
    """Candidates by `Fate`; empty where the series has no search."""
    finished: int
    """Answers that ended with end-of-sequence."""
    unfinished: int


def funnel(reader: SeriesReader, *, prompts: int) -> Funnel:
    """Return the counts of a series."""
    pairs = reader.pairs.select(pairs=pl.len(), prompts=pl.col("prompt_id").n_unique()).collect()
    answers = _counts(reader.scan(reader.responses), "finished")
    return Funnel(
        prompts=prompts,
        pairs=pairs["pairs"][0],
        with_pairs=pairs["prompts"][0],
        reasons=_counts(reader.lost, "reason"),
        fates=_counts(reader.scan(reader.candidates), "fate"),
        finished=answers.get("true", 0),
        unfinished=answers.get("false", 0),
    )


def shade(reader: SeriesReader) -> dict[str, list[float] | None]:
    """Return the scale that sentences are shaded by: the 5th, 50th and 95th percentile of reward and of relevance."""
    table = reader.scan(reader.candidates)
    found: dict[str, list[float] | None] = {"reward": None, "relevance": None}
    if table is None:
        return found
    for name, column in (("reward", "guidance_reward"), ("relevance", "relevance")):
        values = table.select(
            [pl.col(column).quantile(share).alias(str(share)) for share in (0.05, 0.5, 0.95)]
        ).collect()
        row = values.row(0)
        found[name] = None if row[0] is None else [round(float(value), 5) for value in row]
    return found


def _counts(table: pl.LazyFrame | None, column: str) -> dict[str, int]:
    if table is None:
        return {}
    rows = table.group_by(column).agg(pl.len()).collect().iter_rows()
    return {str(value).lower(): count for value, count in sorted(rows, key=lambda row: str(row[0]))}
