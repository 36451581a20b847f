"""An iteration's rewards and pairs as plain figures, and how they depend on length.

Percentages are 0 to 100. A figure over nothing (no pair, no finished answer) is None. `csrdata.text.json_text` turns the
records into JSON, whose keys are the names of the fields.
"""

from dataclasses import dataclass

import polars as pl

from csrdata.inspection.cost import SearchCost
from csrdata.inspection.histogram import Histogram, histogram
from csrdata.inspection.iteration import Iteration
from csrdata.records import DropReason, Fate, Stop
from csrdata.search.words import word_count


@dataclass(frozen=True, slots=True)
class Distribution:
    """Figures of some values, in the unit of the values; a value that is not finite is in no bin."""

    count: int
    """Values."""
    mean: float | None
    p10: float | None
    """The quantiles: 10, 50 and 90%, interpolated."""
    p50: float | None
    p90: float | None
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of what, and the candidates by fate and by why the decoding stopped."""

    prompts: int
    candidates: int
    """Sentences."""
    by_fate: dict[str, int]
    """Sentences, for every `Fate`."""
    by_stop: dict[str, int]
    """Sentences, for every `Stop`."""
    truncated_for_the_scorer: int
    """Sentences that are longer than the scorer reads."""
    leaves_not_canonical: int
    """Answers whose text is tokenised differently from how it was generated."""


@dataclass(frozen=True, slots=True)
class Distributions:
    """The reward's components by sentence, and the reward by answer and by pair; None where there are no values."""

    sentence_log10_probability: Distribution | None
    """Log10 of R_T."""
    sentence_probability_per_token: Distribution | None
    """0..1: the geometric mean over the sentence's tokens."""
    sentence_relevance: Distribution | None
    """R_I: 0..100, 100 * cosine."""
    sentence_guidance_reward: Distribution | None
    """On the scale of `generate_beams`."""
    answer_reward: Distribution | None
    """On the scale of `score_beams`."""
    pair_margin: Distribution | None
    """On the scale of `score_beams`."""


@dataclass(frozen=True, slots=True)
class ResponseFigures:
    """An iteration's answers."""

    answers: int
    finished: float | None
    """Percent of the answers."""
    canonical: float | None
    """Percent of the answers."""
    mean_words: float | None
    mean_sentences: float | None
    reward_length_correlation: float | None
    """-1..1: Pearson's r of the reward with words, over finished answers."""


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Pairs kept and prompts dropped; the margin; and whether length alone could have picked the chosen answer."""

    kept: int
    """Pairs."""
    by_origin: dict[str, int]
    """Pairs, for every origin that occurs."""
    dropped: dict[str, int]
    """Prompts without a pair, for every `DropReason`."""
    mean_margin: float | None
    """On the scale of `score_beams`."""
    mean_chosen_words: float | None
    mean_rejected_words: float | None
    mean_length_gap: float | None
    """Words, chosen - rejected."""
    chosen_shorter: float | None
    """Percent of the pairs."""
    length_only_auc: float | None
    """0..1: the chance that a chosen answer is longer than a rejected one; 0.5 means that length says nothing."""
    likelihood_prefers_rejected: float | None
    """Percent of the pairs with stored scores."""


@dataclass(frozen=True, slots=True)
class Stats:
    """An iteration's figures."""

    iteration: str
    counts: Counts
    distributions: Distributions
    responses: ResponseFigures
    pairs: PairFigures
    search: SearchCost | None = None
    """What the search cost; None where its run log is missing, as in a release."""


def stats(iteration: Iteration, *, search: SearchCost | None = None) -> Stats:
    """Return an iteration's figures, with those of its search where they are known."""
    return Stats(
        iteration=iteration.name,
        counts=_counts(iteration),
        distributions=_distributions(iteration),
        responses=_responses(iteration.responses),
        pairs=_pairs(iteration),
        search=search,
    )


def _counts(iteration: Iteration) -> Counts:
    sentences = iteration.sentences
    return Counts(
        prompts=len(iteration.prompts),
        candidates=len(sentences),
        by_fate=_by(sentences["fate"], [fate.value for fate in Fate]),
        by_stop=_by(sentences["stop"], [stop.value for stop in Stop]),
        truncated_for_the_scorer=int(sentences["relevance_truncated"].sum()),
        leaves_not_canonical=int((~sentences["canonical"].drop_nulls()).sum()),
    )


def _distributions(iteration: Iteration) -> Distributions:
    spoken = iteration.sentences.filter(pl.col("relevance").is_not_null())
    per_token = (pl.col("logprob") / pl.col("token_ids").list.len()).exp()
    return Distributions(
        sentence_log10_probability=distribution(spoken["logprob"] / 2.302585092994046),
        sentence_probability_per_token=distribution(spoken.select(per_token).to_series()),
        sentence_relevance=distribution(spoken["relevance"]),
        sentence_guidance_reward=distribution(spoken["guidance_reward"].drop_nulls()),
        answer_reward=distribution(iteration.responses["reward"]),
        pair_margin=distribution(iteration.pairs["margin"].drop_nulls()),
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
    )


def _pairs(iteration: Iteration) -> PairFigures:
    pairs = iteration.pairs
    chosen_words, rejected_words = words(pairs, "chosen"), words(pairs, "rejected")
    gaps = chosen_words - rejected_words
    return PairFigures(
        kept=len(pairs),
        by_origin=dict(sorted(pairs["origin"].value_counts().iter_rows())),
        dropped=_by(iteration.dropped["reason"], [reason.value for reason in DropReason]),
        mean_margin=mean(pairs["margin"]),
        mean_chosen_words=mean(chosen_words),
        mean_rejected_words=mean(rejected_words),
        mean_length_gap=mean(gaps),
        chosen_shorter=_percent(gaps < 0),
        length_only_auc=_auc(chosen_words, rejected_words),
        likelihood_prefers_rejected=_flipped(pairs, iteration.responses),
    )


def words(pairs: pl.DataFrame, side: str) -> pl.Series:
    """Return the words of each pair's `chosen` or `rejected` answer, counted from the text."""
    return pl.Series([word_count(text) for text in pairs[side]], dtype=pl.Int64)


def _flipped(pairs: pl.DataFrame, responses: pl.DataFrame) -> float | None:
    """Return the percentage of pairs whose rejected answer has the higher likelihood: relevance changed their order."""
    likelihood = responses.select("prompt_id", "leaf_id", "likelihood")
    both = pairs.select("prompt_id", "chosen_leaf", "rejected_leaf")
    for side in ("chosen", "rejected"):
        both = both.join(
            likelihood.rename({"leaf_id": f"{side}_leaf", "likelihood": side}),
            on=["prompt_id", f"{side}_leaf"],
        )
    return _percent(both["rejected"] > both["chosen"])


def _auc(positive: pl.Series, negative: pl.Series) -> float | None:
    """Chance, 0..1, that a chosen answer is longer than a rejected one, ties half: 0.5 means that length does not matter."""
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
    found = histogram(values.to_list(), other=[] if other is None else other.to_list())
    if found is None:
        return None
    p10, p50, p90 = (values.quantile(percent / 100, "linear") for percent in (10, 50, 90))
    return Distribution(count=len(values), mean=mean(values), p10=p10, p50=p50, p90=p90, histogram=found)


def _by(values: pl.Series, names: list[str]) -> dict[str, int]:
    """Count values by name; a name that does not occur is 0."""
    found = dict(values.value_counts().iter_rows())
    return {name: found.get(name, 0) for name in names}


def mean(values: pl.Series) -> float | None:
    """Return the mean of the values that are not null, None without any."""
    known = values.drop_nulls()
    return float(known.mean()) if len(known) else None  # type: ignore[arg-type]


def _percent(values: pl.Series) -> float | None:
    return 100 * float(values.mean()) if len(values) else None  # type: ignore[arg-type]


def _correlation(one: pl.Series, other: pl.Series) -> float | None:
    """Pearson's r; None where it is undefined (fewer than two values, or one side constant)."""
    if one.n_unique() < 2 or other.n_unique() < 2:
        return None
    return float(pl.DataFrame({"a": one, "b": other}).select(pl.corr("a", "b")).item())
