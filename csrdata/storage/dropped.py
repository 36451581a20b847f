"""Which prompts have no pair, from a table of `Dropped` rows: a pair that curation takes out has a row as well."""

import polars as pl

from csrdata.records import BY_HAND

NAMED = 20
"""The most pairs that the reason of one prompt names: a detail has at most 1,000 characters of a condition."""
_BY_HAND = pl.col("reason").is_in([reason.value for reason in BY_HAND])


def lost_prompts(dropped: pl.LazyFrame, pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Return one `Dropped` row for each prompt without a pair, in the order of prompt ids.

    Of a prompt that lost all its pairs by curation, the reason is that of its first pair, and the detail names the first
    `NAMED` of them. A prompt that keeps a pair is not lost: its rows are left out.

    Args:
        dropped: `Dropped` rows.
        pairs: `Pair` rows of the same prompts; only `prompt_id` is read.
    """
    lost = dropped.filter(_BY_HAND).join(pairs.select("prompt_id"), on="prompt_id", how="anti")
    each = lost.group_by("prompt_id", maintain_order=True).agg(
        pl.col("reason").first(), pl.col("detail").head(NAMED).str.join("; ")
    )
    return pl.concat([dropped.filter(~_BY_HAND), each]).sort("prompt_id", maintain_order=True)


def removed_pairs(dropped: pl.DataFrame) -> dict[str, int]:
    """Return how many pairs curation took out, for each of its reasons."""
    counts = dropped["reason"].value_counts()
    found: dict[str, int] = dict(counts.iter_rows())
    return {reason.value: found.get(reason.value, 0) for reason in BY_HAND}
