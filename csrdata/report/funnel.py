"""Counts of the funnel: what became of every prompt, candidate and answer of a series."""

from csrdata.report.series import SeriesReader
import polars as pl


def funnel(reader: SeriesReader, *, prompts: int) -> dict[str, object]:
    """Return the counts of a series, fit for JSON.

    `fates` and `answers` are empty where the series has no search. `reasons` counts prompts without a pair.
    """
    pairs = reader.pairs.select(pairs=pl.len(), prompts=pl.col("prompt_id").n_unique()).collect()
    fates = _counts(reader.scan(reader.candidates), "fate")
    answers = reader.scan(reader.responses)
    finished = {} if answers is None else _counts(answers, "finished")
    return {
        "prompts": prompts,
        "pairs": pairs["pairs"][0],
        "with_pairs": pairs["prompts"][0],
        "reasons": _counts(reader.dropped, "reason"),
        "fates": fates,
        "finished": finished.get("true", 0),
        "unfinished": finished.get("false", 0),
    }


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
