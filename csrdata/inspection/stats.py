"""Figures of an iteration's rewards and pairs, and how they depend on length.

Percentages are 0 to 100. A figure over nothing (no pair, no finished answer) is None. `csrdata.text.json_text` turns
the records into JSON with the field names as keys.
"""

from dataclasses import dataclass, replace

import polars as pl

from csrdata.inspection.cost import PairCost, SearchCost
from csrdata.inspection.histogram import BINS, Histogram
from csrdata.inspection.lengths import words_of
from csrdata.inspection.near_duplicates import near
from csrdata.inspection.pair_bias import (
    LengthBias,
    OriginFigures,
    ScorerAgreement,
    Variety,
    numbers,
    pair_table,
)
from csrdata.inspection.wording import Wording
from csrdata.records import DropReason, Fate, Stop
from csrdata.search.pairs import Form
from csrdata.storage.dropped import lost_prompts, removed_pairs
from csrdata.storage.iteration_tables import LoadedIteration

IS_LEAF = pl.col("fate").is_in([Fate.FINISHED.value, Fate.CUT.value])
"""Whether an answer ends at the sentence."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of some values, in their unit. Values that are not finite are in no bin of the histogram."""

    count: int
    """Number of values."""
    mean: float | None
    p10: float | None
    """p10, p50 and p90 are the 10, 50 and 90% quantiles, interpolated linearly."""
    p50: float | None
    p90: float | None
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of prompts and candidates; of candidates also by fate, and by the reason why decoding stopped."""

    prompts: int
    candidates: int
    """Candidate sentences."""
    tokens_per_prompt: float | None
    """Generated tokens of a prompt's candidates, mean; of equal candidates only the kept one's. Two searches with the same
    number are compared at equal tokens."""
    by_fate: dict[str, int]
    """Candidate sentences, for every `Fate`."""
    by_stop: dict[str, int]
    """Candidate sentences, for every `Stop`."""
    truncated_for_the_scorer: int
    """Sentences that the scorer did not read to their end, because they are too long."""
    leaves_not_canonical: int
    """Answers whose text, tokenized again, does not give the generated tokens."""


@dataclass(frozen=True, slots=True)
class Distributions:
    """The reward's components per sentence, and the reward per answer and per pair; None if there are no values."""

    sentence_log10_probability: Distribution | None
    """Log10 of R_T (equation 2)."""
    sentence_probability_per_token: Distribution | None
    """0..1: geometric mean of the probabilities of the sentence's tokens."""
    sentence_relevance: Distribution | None
    """R_I (equation 3): 0..100, 100 * cosine."""
    sentence_repetition: Distribution | None
    """0..1: the largest similarity to an earlier sentence of the answer, by the search's scorer; not of first sentences."""
    sentence_guidance_reward: Distribution | None
    """On the scale of `generate_beams`."""
    answer_reward: Distribution | None
    """On the scale of `score_beams`."""
    pair_margin: Distribution | None
    """On the scale that the pairs' origin has; None if they have several origins."""


@dataclass(frozen=True, slots=True)
class ResponseFigures:
    """Figures of an iteration's answers."""

    answers: int
    finished: float | None
    """Percent of the answers."""
    canonical: float | None
    """Percent of the answers."""
    mean_words: float | None
    mean_sentences: float | None
    reward_length_correlation: float | None
    """-1..1: Pearson's r of reward and number of words, over finished answers."""
    best_answer_flipped: float | None
    """Percent of the prompts with two finished answers or more whose best answer by reward is not the one that the language
    term alone would choose: how often the image term flips the choice. A prompt with a tie for the best is left out."""
    scorer_correlation: float | None
    """-1..1: Pearson's r of relevance and held-out relevance, over finished answers; None without a held-out scorer."""


@dataclass(frozen=True, slots=True)
class DepthFigures:
    """The candidates of one depth: first sentences, second sentences, ..."""

    candidates: int
    mean_relevance: float | None
    """0..100."""
    mean_probability_per_token: float | None
    """0..1: mean of the geometric means of the sentences' token probabilities."""
    truncated_for_the_scorer: int
    """Sentences that the scorer did not read to their end."""


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Figures of kept pairs and dropped prompts: margin, lengths, and how well length alone would pick the chosen side."""

    kept: int
    """Pairs."""
    with_pairs: int
    """Prompts with a pair or more."""
    by_origin: dict[str, int]
    """Pairs, for every origin that occurs."""
    by_form: dict[str, int]
    """Pairs, for every `Form`: of answers, of sentences, of going on and of stopping."""
    dropped: dict[str, int]
    """Prompts without a pair, for every `DropReason`."""
    removed: dict[str, int]
    """Pairs that curation took out, for each of its reasons."""
    mean_margin: float | None
    """On the scale that the pairs' origin has; None if they have several origins."""
    mean_chosen_words: float | None
    mean_rejected_words: float | None
    mean_length_gap: float | None
    """Words: chosen - rejected."""
    chosen_shorter: float | None
    """Percent of the pairs whose chosen side has fewer words."""
    length_only_auc: float | None
    """0..1: how often a chosen side is longer than a rejected one; 0.5 means that length says nothing."""
    likelihood_prefers_rejected: float | None
    """Percent of the pairs of whole answers with stored scores."""


@dataclass(frozen=True, slots=True)
class Stats:
    """All figures of an iteration."""

    iteration: str
    counts: Counts
    distributions: Distributions
    responses: ResponseFigures
    pairs: PairFigures
    length: LengthBias
    wording: Wording
    scorers: ScorerAgreement
    variety: Variety
    origins: dict[str, OriginFigures]
    """By origin: the largest first."""
    by_depth: dict[str, DepthFigures]
    """By depth: `depth_1` for first sentences."""
    search: SearchCost | None = None
    """The cost of the search; None if its run log is missing, as in a release."""
    cost: PairCost | None = None
    """What a pair cost; None if the log of stages is missing, or there is no pair."""


def stats(
    iteration: LoadedIteration,
    *,
    pairs: pl.LazyFrame | None = None,
    search: SearchCost | None = None,
    cost: PairCost | None = None,
    near_duplicates: bool = False,
) -> Stats:
    """Return an iteration's figures, with what its search and its pairs cost if that is known.

    Args:
        iteration: the tables; those of a search may be empty.
        pairs: takes the place of the iteration's pairs: a table with the columns of `Pair` that is streamed.
        search, cost: what is known of the cost.
        near_duplicates: whether to count pairs that are nearly equal to an earlier one.
    """
    lazy = iteration.pairs.lazy() if pairs is None else pairs
    table = numbers(lazy)
    figures = pair_table(table)
    variety = figures.variety
    if near_duplicates:
        texts = lazy.select(pl.col("chosen") + "\n" + pl.col("rejected"), "image", "prompt").collect()
        variety = replace(variety, near_duplicates=near(*texts.iter_columns()))
    return Stats(
        iteration=iteration.name,
        counts=_counts(iteration),
        distributions=_distributions(iteration, table),
        responses=_responses(iteration.responses),
        pairs=_pairs(table, iteration),
        length=figures.length,
        wording=figures.wording,
        scorers=figures.scorers,
        variety=variety,
        origins=figures.origins,
        by_depth=_by_depth(iteration.candidates),
        search=search,
        cost=cost,
    )


def _counts(iteration: LoadedIteration) -> Counts:
    sentences = iteration.candidates
    return Counts(
        prompts=len(iteration.prompts),
        candidates=len(sentences),
        tokens_per_prompt=float(sentences["token_ids"].list.len().sum()) / len(iteration.prompts)
        if len(iteration.prompts)
        else None,
        by_fate=_by(sentences["fate"], [fate.value for fate in Fate]),
        by_stop=_by(sentences["stop"], [stop.value for stop in Stop]),
        truncated_for_the_scorer=int(sentences["relevance_truncated"].sum()),
        leaves_not_canonical=int((~sentences.filter(IS_LEAF)["canonical"]).sum()),
    )


def _by_depth(candidates: pl.DataFrame) -> dict[str, DepthFigures]:
    found = (
        candidates.filter(pl.col("relevance").is_not_null())
        .group_by("depth")
        .agg(
            pl.len(),
            pl.col("relevance").mean(),
            (pl.col("logprob") / pl.col("token_ids").list.len()).exp().mean().alias("probability"),
            pl.col("relevance_truncated").sum(),
        )
        .sort("depth")
    )
    return {f"depth_{depth}": DepthFigures(*row) for depth, *row in found.iter_rows()}


def _distributions(iteration: LoadedIteration, table: pl.DataFrame) -> Distributions:
    spoken = iteration.candidates.filter(pl.col("relevance").is_not_null())
    per_token = (pl.col("logprob") / pl.col("token_ids").list.len()).exp()
    return Distributions(
        sentence_log10_probability=distribution(spoken["logprob"] / 2.302585092994046),
        sentence_probability_per_token=distribution(spoken.select(per_token).to_series()),
        sentence_relevance=distribution(spoken["relevance"]),
        sentence_repetition=distribution(spoken.filter(pl.col("depth") > 1)["repetition"].drop_nulls()),
        sentence_guidance_reward=distribution(spoken["guidance_reward"].drop_nulls()),
        answer_reward=distribution(iteration.responses["reward"]),
        pair_margin=distribution(_margins(table)),
    )


def _responses(responses: pl.DataFrame) -> ResponseFigures:
    whole = responses.filter(pl.col("finished"))
    return ResponseFigures(
        answers=len(responses),
        finished=_percent(responses["finished"]),
        canonical=_percent(responses["canonical"]),
        mean_words=mean(responses["words"]),
        mean_sentences=mean(responses["sentences"]),
        reward_length_correlation=_correlation(whole["reward"], whole["words"]),
        best_answer_flipped=_best_flipped(whole),
        scorer_correlation=_correlation(
            *whole.select("relevance", "relevance_held_out").drop_nulls().iter_columns()
        ),
    )


def _best_flipped(whole: pl.DataFrame) -> float | None:
    """Return how often the best answer by reward is not the best by the language term alone, percent of the prompts."""
    best = [pl.col(name) == pl.col(name).max() for name in ("reward", "likelihood")]
    found = (
        whole.lazy()
        .group_by("prompt_id")
        .agg(
            pl.len(),
            *(one.sum().alias(f"ties{n}") for n, one in enumerate(best)),
            same=(best[0] & best[1]).any(),
        )
        .filter((pl.col("len") > 1) & (pl.col("ties0") == 1) & (pl.col("ties1") == 1))
        .select(100 * (~pl.col("same")).mean())
        .collect(engine="streaming")
    )
    value: float | None = found.item()
    return value


def _pairs(table: pl.DataFrame, iteration: LoadedIteration) -> PairFigures:
    lost = lost_prompts(iteration.dropped.lazy(), iteration.pairs.lazy())
    return PairFigures(
        kept=len(table),
        with_pairs=table["prompt_id"].n_unique(),
        by_origin=dict(sorted(table["origin"].drop_nulls().value_counts().iter_rows())),
        by_form=_by(table["form"], [form.value for form in Form]),
        dropped=_by(lost.collect()["reason"], [reason.value for reason in DropReason]),
        removed=removed_pairs(iteration.dropped),
        mean_margin=mean(_margins(table)),
        mean_chosen_words=mean(table["chosen_count"]),
        mean_rejected_words=mean(table["rejected_count"]),
        mean_length_gap=mean(table["gap"]),
        chosen_shorter=_percent(table["gap"] < 0),
        length_only_auc=_auc(table["chosen_count"], table["rejected_count"]),
        likelihood_prefers_rejected=_flipped(table, iteration.responses),
    )


def _margins(pairs: pl.DataFrame) -> pl.Series:
    """Return the margins that are known; none if pairs have several origins, whose margins are on different scales."""
    known = pairs.filter(pl.col("margin").is_not_null())
    return known["margin"].head(len(known) if known["origin"].n_unique() == 1 else 0)


def words(pairs: pl.DataFrame, side: str) -> pl.Series:
    """Return the number of words of each pair's `chosen` or `rejected` text, [pairs], counted by `word_count`."""
    return pairs.select(words_of(side)).to_series()


def _flipped(pairs: pl.DataFrame, responses: pl.DataFrame) -> float | None:
    """Return the percentage of pairs of answers whose rejected one has the higher likelihood: relevance decided there."""
    likelihood = responses.select("prompt_id", "leaf_id", "likelihood")
    both = pairs.filter(form=Form.ANSWERS.value).select("prompt_id", "chosen_leaf", "rejected_leaf")
    for side in ("chosen", "rejected"):
        both = both.join(
            likelihood.rename({"leaf_id": f"{side}_leaf", "likelihood": side}),
            on=["prompt_id", f"{side}_leaf"],
        )
    return _percent(both["rejected"] > both["chosen"])


def _auc(positive: pl.Series, negative: pl.Series) -> float | None:
    """Return how often, 0..1, a chosen side is longer than a rejected one, ties half; 0.5: length does not matter."""
    if not len(positive):
        return None
    ranks = pl.concat([positive, negative]).rank("average")[: len(positive)]
    return (float(ranks.sum()) - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


def distribution(values: pl.Series, *, other: pl.Series | None = None) -> Distribution | None:
    """Return the count, mean, quantiles and histogram of values, None without any.

    Args:
        values: no nulls.
        other: other values that the histogram's bins must cover.
    """
    found = _histogram(values, other=other)
    if found is None:
        return None
    p10, p50, p90 = (values.quantile(percent / 100, "linear") for percent in (10, 50, 90))
    return Distribution(count=len(values), mean=mean(values), p10=p10, p50=p50, p90=p90, histogram=found)


def _histogram(values: pl.Series, *, other: pl.Series | None) -> Histogram | None:
    """Return what `csrdata.inspection.histogram.histogram` returns, computed by polars."""
    finite = values.filter(values.is_finite()) if values.dtype.is_float() else values
    if not len(finite):
        return None
    spanned = [finite] if other is None else [finite, other.filter(other.cast(pl.Float64).is_finite())]
    low = min(one.min() for one in spanned if len(one))  # type: ignore[type-var]
    high = max(one.max() for one in spanned if len(one))  # type: ignore[type-var]
    counts = [0] * BINS
    if high > low:  # type: ignore[operator]
        places = (BINS * (finite - low) / (high - low)).cast(pl.Int64).clip(0, BINS - 1)  # type: ignore[operator]
        for place, count in places.value_counts().iter_rows():
            counts[place] = count
    else:
        counts[0] = len(finite)
    return Histogram(low, high, tuple(counts))  # type: ignore[arg-type]


def _by(values: pl.Series, names: list[str]) -> dict[str, int]:
    """Count values by name; a name that does not occur has 0."""
    found = dict(values.value_counts().iter_rows())
    return {name: found.get(name, 0) for name in names}


def mean(values: pl.Series) -> float | None:
    """Return the mean of the values that are not null; None without such values."""
    known = values.drop_nulls()
    return float(known.mean()) if len(known) else None  # type: ignore[arg-type]


def _percent(values: pl.Series) -> float | None:
    return 100 * float(values.mean()) if len(values) else None  # type: ignore[arg-type]


def _correlation(one: pl.Series, other: pl.Series) -> float | None:
    """Return Pearson's r; None if it is undefined (fewer than two values, or one side constant)."""
    if one.n_unique() < 2 or other.n_unique() < 2:
        return None
    return float(pl.DataFrame({"a": one, "b": other}).select(pl.corr("a", "b")).item())
