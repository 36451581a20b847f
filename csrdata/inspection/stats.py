"""Figures of an iteration's rewards and pairs, and how they depend on length.

Percentages are 0 to 100. A figure over nothing (no pair, no finished answer) is None. `csrdata.text.json_text` turns
the records into JSON with the field names as keys.
"""

from dataclasses import dataclass

import polars as pl

from csrdata.inspection.cost import SearchCost
from csrdata.inspection.histogram import Histogram, histogram
from csrdata.records import DropReason, Fate, Stop
from csrdata.search.pairs import Form
from csrdata.search.words import word_count
from csrdata.storage.iteration_tables import LoadedIteration

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
    search: SearchCost | None = None
    """The cost of the search; None if its run log is missing, as in a release."""


def stats(iteration: LoadedIteration, *, search: SearchCost | None = None) -> Stats:
    """Return an iteration's figures, with the cost of its search if that is known."""
    return Stats(
        iteration=iteration.name,
        counts=_counts(iteration),
        distributions=_distributions(iteration),
        responses=_responses(iteration.responses),
        pairs=_pairs(iteration),
        search=search,
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


def _distributions(iteration: LoadedIteration) -> Distributions:
    spoken = iteration.candidates.filter(pl.col("relevance").is_not_null())
    per_token = (pl.col("logprob") / pl.col("token_ids").list.len()).exp()
    return Distributions(
        sentence_log10_probability=distribution(spoken["logprob"] / 2.302585092994046),
        sentence_probability_per_token=distribution(spoken.select(per_token).to_series()),
        sentence_relevance=distribution(spoken["relevance"]),
        sentence_guidance_reward=distribution(spoken["guidance_reward"].drop_nulls()),
        answer_reward=distribution(iteration.responses["reward"]),
        pair_margin=distribution(_margins(iteration.pairs)),
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


def _pairs(iteration: LoadedIteration) -> PairFigures:
    pairs = iteration.pairs
    chosen_words, rejected_words = words(pairs, "chosen"), words(pairs, "rejected")
    gaps = chosen_words - rejected_words
    return PairFigures(
        kept=len(pairs),
        with_pairs=pairs["prompt_id"].n_unique(),
        by_origin=dict(sorted(pairs["origin"].value_counts().iter_rows())),
        by_form=_by(pairs.select(form=FORM)["form"], [form.value for form in Form]),
        dropped=_by(iteration.dropped["reason"], [reason.value for reason in DropReason]),
        mean_margin=mean(_margins(pairs)),
        mean_chosen_words=mean(chosen_words),
        mean_rejected_words=mean(rejected_words),
        mean_length_gap=mean(gaps),
        chosen_shorter=_percent(gaps < 0),
        length_only_auc=_auc(chosen_words, rejected_words),
        likelihood_prefers_rejected=_flipped(pairs, iteration.responses),
    )


def _margins(pairs: pl.DataFrame) -> pl.Series:
    """Return the margins that are known; none if pairs have several origins, whose margins are on different scales."""
    known = pairs.filter(pl.col("margin").is_not_null())
    return known["margin"].head(len(known) if known["origin"].n_unique() == 1 else 0)


def words(pairs: pl.DataFrame, side: str) -> pl.Series:
    """Return the number of words of each pair's `chosen` or `rejected` text, [pairs], counted by `word_count`."""
    return pl.Series([word_count(text) for text in pairs[side]], dtype=pl.Int64)


def _flipped(pairs: pl.DataFrame, responses: pl.DataFrame) -> float | None:
    """Return the percentage of pairs of answers whose rejected one has the higher likelihood: relevance decided there."""
    likelihood = responses.select("prompt_id", "leaf_id", "likelihood")
    both = pairs.filter(FORM.eq(Form.ANSWERS.value)).select("prompt_id", "chosen_leaf", "rejected_leaf")
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
    found = histogram(values.to_list(), other=[] if other is None else other.to_list())
    if found is None:
        return None
    p10, p50, p90 = (values.quantile(percent / 100, "linear") for percent in (10, 50, 90))
    return Distribution(count=len(values), mean=mean(values), p10=p10, p50=p50, p90=p90, histogram=found)


def _by(values: pl.Series, names: list[str]) -> dict[str, int]:
    """Count values by name; a name that does not occur has 0."""
    found = dict(values.value_counts().iter_rows())
    return {name: found.get(name, 0) for name in names}


def mean(values: pl.Series) -> float | None:
    """Return the mean of the values that are not null; None if there are none."""
    known = values.drop_nulls()
    return float(known.mean()) if len(known) else None  # type: ignore[arg-type]


def _percent(values: pl.Series) -> float | None:
    return 100 * float(values.mean()) if len(values) else None  # type: ignore[arg-type]


def _correlation(one: pl.Series, other: pl.Series) -> float | None:
    """Return Pearson's r; None if it is undefined (fewer than two values, or one side constant)."""
    if one.n_unique() < 2 or other.n_unique() < 2:
        return None
    return float(pl.DataFrame({"a": one, "b": other}).select(pl.corr("a", "b")).item())
