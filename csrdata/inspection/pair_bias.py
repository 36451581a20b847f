"""Figures of any table of preference pairs, from this project or another: length, wording, scorers, copies, origins.

One pass over the table turns its texts into numbers (`numbers`): polars streams it, and what stays in memory are about 200
bytes a pair. A column that a table does not have counts as unknown everywhere. Percentages are 0 to 100; a figure over
nothing is None.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from csrdata.inspection.lengths import words_of
from csrdata.inspection.wording import Wording, first_word, wording
from csrdata.search.pairs import Form

FORM = (
    pl.when(pl.col("chosen") == "")
    .then(pl.lit(Form.STOP.value))
    .when(pl.col("rejected") == "")
    .then(pl.lit(Form.GO_ON.value))
    .when(pl.col("chosen_complete") & pl.col("rejected_complete") & (pl.col("context") == ""))
    .then(pl.lit(Form.ANSWERS.value))
    .otherwise(pl.lit(Form.SENTENCES.value))
)
"""The `Form` of a pair, as `csrdata.search.pairs.form` returns it."""

WHOLE = ("image", "prompt", "context", "chosen", "rejected", "chosen_complete", "rejected_complete")
"""The columns that make two pairs the same."""
MOST_ORIGINS = 50
"""The most origins that are listed; the pairs of the others are counted together."""
OTHERS = "(others)"
MOST_DISAGREEMENTS = 5
"""Pairs that are listed as the largest disagreements of the two scorers."""


@dataclass(frozen=True, slots=True)
class LengthBias:
    """How chosen and rejected differ in words, and what length alone would choose."""

    chosen_longer: float | None
    """Percent of the pairs whose chosen side has more words."""
    chosen_shorter: float | None
    equal_length: float | None
    length_only_accuracy: float | None
    """50..100: percent of the pairs that the better of two rules gets right: always the longer side, or always the shorter
    one; equal lengths count half."""
    length_only_picks: str | None
    """That rule: `longer` or `shorter`; None if the two are equally good."""
    reward_length_correlation: float | None
    """-1..1: Pearson's r of reward and words, over both sides of all pairs with rewards."""
    margin_gap_correlation: float | None
    """-1..1: Pearson's r of reward difference and difference in words, chosen - rejected."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair whose order the held-out scorer would turn round."""

    prompt_id: str
    number: int
    margin: float
    """Reward of chosen - reward of rejected, by the search's scorer."""
    held_out_margin: float
    """The same by the held-out scorer, below 0."""


@dataclass(frozen=True, slots=True)
class ScorerAgreement:
    """How far the held-out scorer agrees with the one that ordered the pairs."""

    pairs: int
    """Pairs with rewards by both."""
    held_out_agrees: float | None
    """Percent of these pairs whose chosen side has the higher reward by the held-out scorer too; ties count half."""
    margin_correlation: float | None
    """-1..1: Pearson's r of the two margins."""
    logprob_prefers_rejected: float | None
    """Percent of the pairs with log-probabilities whose rejected side is the more likely text, its length included."""
    largest_disagreements: list[Disagreement]
    """The lowest held-out margins below 0, the lowest first."""


@dataclass(frozen=True, slots=True)
class Variety:
    """How many different things the pairs are about, and how many are copies."""

    prompts: int
    """Different instructions."""
    images: int | None
    """Different images by their names; None where a table names none."""
    exact_duplicates: int
    """Pairs with the image, instruction, beginning and both sides of an earlier pair. Rows are compared by 64-bit hashes."""
    identical_sides: int
    """Pairs whose two sides are the same text with the same end."""
    near_duplicates: int | None = None
    """Pairs nearly equal to an earlier one (`csrdata.inspection.near_duplicates`); None where that was not asked for."""


@dataclass(frozen=True, slots=True)
class OriginFigures:
    """The pairs of one origin."""

    pairs: int
    mean_margin: float | None
    """On the origin's own scale."""
    mean_length_gap: float | None
    """Words: chosen - rejected."""
    chosen_shorter: float | None
    held_out_agrees: float | None


@dataclass(frozen=True, slots=True)
class PairTable:
    """All figures of a table of pairs."""

    length: LengthBias
    wording: Wording
    scorers: ScorerAgreement
    variety: Variety
    origins: dict[str, OriginFigures]
    """The largest origins first, at most `MOST_ORIGINS`; any others together as `(others)`."""


def numbers(pairs: pl.LazyFrame) -> pl.DataFrame:
    """Return what the figures of pairs need, without the texts.

    Args:
        pairs: a table with the columns of `Pair`.

    Returns:
        In the order of the pairs, the columns of `Pair` without its texts, and `chosen_first` and `rejected_first` (first
        words, null without one), `chosen_count` and `rejected_count` (words), `gap` (their difference), `by_reward`,
        `by_held_out` and `by_logprob` (chosen - rejected), `form`, `same_sides`, and
        the hashes `prompt_hash` and `pair_hash`.
    """
    sides_alike = (pl.col("chosen") == pl.col("rejected")) & (
        pl.col("chosen_complete") == pl.col("rejected_complete")
    )
    return (
        pairs.with_columns(
            form=FORM,
            chosen_first=first_word("chosen"),
            rejected_first=first_word("rejected"),
            chosen_count=words_of("chosen"),
            rejected_count=words_of("rejected"),
            by_reward=pl.col("chosen_reward") - pl.col("rejected_reward"),
            by_held_out=pl.col("chosen_reward_held_out") - pl.col("rejected_reward_held_out"),
            by_logprob=pl.col("chosen_logprob") - pl.col("rejected_logprob"),
            prompt_hash=pl.col("prompt").hash(),
            pair_hash=pl.struct(WHOLE).hash(),
            same_sides=sides_alike,
        )
        .drop("prompt", "context", "chosen", "rejected")
        .with_columns(gap=pl.col("chosen_count") - pl.col("rejected_count"))
        .collect(engine="streaming")
    )


def pair_table(table: pl.DataFrame) -> PairTable:
    """Return the figures of the pairs that `numbers` read."""
    both = pl.col("by_reward").is_not_null() & pl.col("by_held_out").is_not_null()
    row = table.select(
        pairs=pl.len(),
        longer=_percent(pl.col("gap") > 0),
        shorter=_percent(pl.col("gap") < 0),
        gap_correlation=pl.corr("by_reward", "gap"),
        margin_correlation=pl.corr(_where(both, "by_reward"), _where(both, "by_held_out")),
        both=both.sum(),
        agrees=_agrees(both),
        logprob_prefers_rejected=_percent(pl.col("by_logprob") < 0),
        prompts=pl.col("prompt_hash").n_unique(),
        images=pl.col("image").drop_nulls().n_unique(),
        with_image=pl.col("image").count(),
        different=pl.col("pair_hash").n_unique(),
        identical=pl.col("same_sides").sum(),
        **_sides(),
    ).row(0, named=True)
    listed = (
        table.filter(both & (pl.col("by_held_out") < 0))
        .select("prompt_id", "number", "by_reward", "by_held_out")
        .sort("by_held_out", "prompt_id", "number")
        .head(MOST_DISAGREEMENTS)
    )
    groups = table.group_by(pl.col("origin").fill_null("unknown")).agg(
        pairs=pl.len(),
        mean_margin=pl.col("margin").mean(),
        mean_length_gap=pl.col("gap").mean(),
        chosen_shorter=_percent(pl.col("gap") < 0),
        held_out_agrees=_agrees(both),
    )
    return PairTable(
        length=_length(row),
        wording=wording(table),
        scorers=ScorerAgreement(
            pairs=row["both"],
            held_out_agrees=row["agrees"],
            margin_correlation=_finite(row["margin_correlation"]),
            logprob_prefers_rejected=row["logprob_prefers_rejected"],
            largest_disagreements=[Disagreement(*values) for values in listed.iter_rows()],
        ),
        variety=Variety(
            prompts=row["prompts"],
            images=row["images"] if row["with_image"] else None,
            exact_duplicates=row["pairs"] - row["different"],
            identical_sides=row["identical"],
        ),
        origins=_origins(groups),
    )


def _sides() -> dict[str, pl.Expr]:
    """Return what the correlation of reward and words over both sides is computed from, side by side."""
    found: dict[str, pl.Expr] = {}
    for side in ("chosen", "rejected"):
        known = pl.col(f"{side}_reward").is_not_null()
        reward, words = _where(known, f"{side}_reward"), _where(known, f"{side}_count").cast(pl.Float64)
        found |= {
            f"{side}_n": known.sum(),
            f"{side}_reward_mean": reward.mean(),
            f"{side}_words_mean": words.mean(),
            f"{side}_reward_variance": reward.var(ddof=0),
            f"{side}_words_variance": words.var(ddof=0),
            f"{side}_covariance": pl.cov(reward, words, ddof=0),
        }
    return found


def _length(row: dict[str, Any]) -> LengthBias:
    longer, shorter = row["longer"], row["shorter"]
    better = None if longer is None else 50 + abs(longer - shorter) / 2
    picks = None if longer is None or longer == shorter else "longer" if longer > shorter else "shorter"
    return LengthBias(
        chosen_longer=longer,
        chosen_shorter=shorter,
        equal_length=None if longer is None else 100 - longer - shorter,
        length_only_accuracy=better,
        length_only_picks=picks,
        reward_length_correlation=_pooled(row),
        margin_gap_correlation=_finite(row["gap_correlation"]),
    )


def _pooled(row: dict[str, Any]) -> float | None:
    """Return Pearson's r of reward and words over both sides, from each side's moments (Chan et al. 1979)."""
    sides = [side for side in ("chosen", "rejected") if row[f"{side}_n"]]
    count = sum(row[f"{side}_n"] for side in sides)
    if count < 2:
        return None

    def mean(name: str) -> float:
        return float(sum(row[f"{side}_n"] * row[f"{side}_{name}_mean"] for side in sides) / count)

    def moment(one: str, other: str, stored: str) -> float:
        return float(
            sum(
                row[f"{side}_n"]
                * (
                    (row[f"{side}_{stored}"] or 0.0)
                    + (row[f"{side}_{one}_mean"] - mean(one)) * (row[f"{side}_{other}_mean"] - mean(other))
                )
                for side in sides
            )
        )

    spread = moment("reward", "reward", "reward_variance") * moment("words", "words", "words_variance")
    return _finite(moment("reward", "words", "covariance") / spread**0.5) if spread > 0 else None


def _origins(groups: pl.DataFrame) -> dict[str, OriginFigures]:
    ordered = groups.sort(["pairs", "origin"], descending=[True, False])
    named = {row[0]: OriginFigures(*row[1:]) for row in ordered.head(MOST_ORIGINS).iter_rows()}
    rest = int(ordered["pairs"][MOST_ORIGINS:].sum())
    return named | ({OTHERS: OriginFigures(rest, None, None, None, None)} if rest else {})


def _where(condition: pl.Expr, name: str) -> pl.Expr:
    return pl.when(condition).then(pl.col(name))


def _percent(condition: pl.Expr) -> pl.Expr:
    return 100 * condition.mean()


def _agrees(both: pl.Expr) -> pl.Expr:
    """Return the share of the pairs with both rewards that the held-out scorer orders in the same way, percent."""
    margin = _where(both, "by_held_out")
    return 100 * ((margin > 0).cast(pl.Float64) + (margin == 0).cast(pl.Float64) / 2).mean()


def _finite(value: float | None) -> float | None:
    """Return a correlation; None where it is undefined, as for a constant."""
    return None if value is None or value != value else float(value)  # noqa: PLR0124 - not a number
