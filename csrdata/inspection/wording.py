"""How the first words of chosen and rejected sides differ.

Where the first word alone tells which side is chosen, training on the pairs teaches a wording as well as a preference: the
policy comes to begin its sentences in that way, whatever they say. In a script without spaces these figures say nothing.
"""

from dataclasses import dataclass

import polars as pl

MOST_FIRST_WORDS = 10
"""The most first words that are listed."""
LONGEST = 24
"""Characters of a first word; what follows is left out."""


@dataclass(frozen=True, slots=True)
class FirstWord:
    """How often sides begin with a word, in percent of the pairs that are compared."""

    word: str
    chosen: float
    rejected: float


@dataclass(frozen=True, slots=True)
class Wording:
    """What the first word alone would choose."""

    compared: int
    """Pairs whose sides both have a text."""
    first_word_only_accuracy: float | None
    """0..100: percent of these pairs that a rule gets right which reads first words alone: it takes the side whose first
    word is chosen more often in the other pairs; equal shares count half. 50: the first word says nothing."""
    first_words: list[FirstWord]
    """The most frequent ones first, at most `MOST_FIRST_WORDS`."""


def first_word(name: str) -> pl.Expr:
    """Return an expression: the first word of the texts in column `name`, at most `LONGEST` characters; null without one."""
    return pl.col(name).str.extract(rf"^\s*(\S{{1,{LONGEST}}})")


def wording(table: pl.DataFrame) -> Wording:
    """Return the figures of first words.

    Args:
        table: with the columns `chosen_first` and `rejected_first`, one row for each pair.
    """
    pairs = table.select("chosen_first", "rejected_first").drop_nulls()
    counts = _counts(pairs)
    same = (pl.col("chosen_first") == pl.col("rejected_first")).cast(pl.Int64)
    found = (
        pairs.with_columns(same=same)
        .join(counts, left_on="chosen_first", right_on="word", how="left")
        .join(counts, left_on="rejected_first", right_on="word", how="left", suffix="_of_rejected")
        .select(
            of_chosen=_share(pl.col("chosen") - 1, pl.col("rejected") - pl.col("same")),
            of_rejected=_share(
                pl.col("chosen_of_rejected") - pl.col("same"), pl.col("rejected_of_rejected") - 1
            ),
        )
        .select(
            right=(pl.col("of_chosen") > pl.col("of_rejected")).sum(),
            equal=(pl.col("of_chosen") == pl.col("of_rejected")).sum(),
        )
    )
    right, equal = found.row(0)
    return Wording(
        compared=len(pairs),
        first_word_only_accuracy=100 * (right + equal / 2) / len(pairs) if len(pairs) else None,
        first_words=[
            FirstWord(word, 100 * chosen / len(pairs), 100 * rejected / len(pairs))
            for word, chosen, rejected in counts.head(MOST_FIRST_WORDS).iter_rows()
        ],
    )


def _counts(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return how many chosen and rejected sides begin with each word, the most frequent words first."""
    sides = [
        pairs.select(word=f"{side}_first", chosen=pl.lit(int(side == "chosen"), dtype=pl.Int64))
        for side in ("chosen", "rejected")
    ]
    return (
        pl.concat(sides)
        .group_by("word")
        .agg(pl.col("chosen").sum(), rejected=pl.len().cast(pl.Int64) - pl.col("chosen").sum())
        .sort(pl.col("chosen") + pl.col("rejected"), "word", descending=[True, False])
    )


def _share(won: pl.Expr, lost: pl.Expr) -> pl.Expr:
    """Return the share of the sides that were chosen, a half where there are none."""
    return pl.when(won + lost > 0).then(won / (won + lost)).otherwise(0.5)
