"""An iteration's rewards and pairs as plain figures, and how they depend on length.

Percentages are 0 to 100. A figure without data (no pair, no finished answer) is None.
"""

from dataclasses import asdict
from typing import Any

import polars as pl

from csrdata.inspection.histogram import histogram
from csrdata.inspection.iteration import Iteration
from csrdata.records import DropReason, Fate, Stop
from csrdata.search.words import word_count


def stats(iteration: Iteration) -> dict[str, Any]:
    """Return an iteration's figures: `counts`, `distributions`, `responses` and `pairs`; a stable form, fit for JSON."""
    return {
        "iteration": iteration.name,
        "counts": _counts(iteration),
        "distributions": _distributions(iteration),
        "responses": _responses(iteration.responses),
        "pairs": _pairs(iteration),
    }


def _counts(iteration: Iteration) -> dict[str, Any]:
    """Count prompts and candidates, by fate and by why the decoding stopped."""
    sentences = iteration.sentences
    return {
        "prompts": len(iteration.prompts),
        "candidates": len(sentences),
        "by_fate": _by(sentences["fate"], [fate.value for fate in Fate]),
        "by_stop": _by(sentences["stop"], [stop.value for stop in Stop]),
        "truncated_for_the_scorer": int(sentences["relevance_truncated"].sum()),
        "leaves_not_canonical": int((~sentences["canonical"].drop_nulls()).sum()),
    }


def _distributions(iteration: Iteration) -> dict[str, Any]:
    """Return distributions of the reward's components per sentence, and of the reward per answer and per pair."""
    spoken = iteration.sentences.filter(pl.col("relevance").is_not_null())
    per_token = (pl.col("logprob") / pl.col("token_ids").list.len()).exp()
    return {
        "sentence_log10_probability": distribution(spoken["logprob"] / 2.302585092994046),
        "sentence_probability_per_token": distribution(spoken.select(per_token).to_series()),
        "sentence_relevance": distribution(spoken["relevance"]),
        "sentence_guidance_reward": distribution(spoken["guidance_reward"].drop_nulls()),
        "answer_reward": distribution(iteration.responses["reward"]),
        "pair_margin": distribution(iteration.pairs["margin"].drop_nulls()),
    }


def _responses(responses: pl.DataFrame) -> dict[str, Any]:
    whole = responses.filter(pl.col("finished"))
    return {
        "answers": len(responses),
        "finished": _percent(responses["finished"]),
        "canonical": _percent(responses["canonical"]),
        "mean_words": _mean(responses["words"]),
        "mean_sentences": _mean(responses["sentences"]),
        "reward_length_correlation": _correlation(whole["reward"], whole["words"]),
    }


def _pairs(iteration: Iteration) -> dict[str, Any]:
    """Return kept and dropped, the margin, and how well length alone predicts the chosen answer."""
    pairs = iteration.pairs
    chosen_words, rejected_words = words(pairs, "chosen"), words(pairs, "rejected")
    gaps = chosen_words - rejected_words
    return {
        "kept": len(pairs),
        "by_origin": dict(sorted(pairs["origin"].value_counts().iter_rows())),
        "dropped": _by(iteration.dropped["reason"], [reason.value for reason in DropReason]),
        "mean_margin": _mean(pairs["margin"]),
        "mean_chosen_words": _mean(chosen_words),
        "mean_rejected_words": _mean(rejected_words),
        "mean_length_gap": _mean(gaps),
        "chosen_shorter": _percent(gaps < 0),
        "length_only_auc": _auc(chosen_words, rejected_words),
        "likelihood_prefers_rejected": _flipped(pairs, iteration.responses),
    }


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


def distribution(values: pl.Series, *, beside: pl.Series | None = None) -> dict[str, Any] | None:
    """Return the count, mean, quantiles and histogram of values, None without any.

    Args:
        values: no nulls.
        beside: other values that the histogram's bins must cover.
    """
    found = histogram(values.to_list(), beside=[] if beside is None else beside.to_list())
    if found is None:
        return None
    quantiles = {f"p{percent}": values.quantile(percent / 100, "linear") for percent in (10, 50, 90)}
    return {"count": len(values), "mean": _mean(values), **quantiles, "histogram": asdict(found)}


def _by(values: pl.Series, names: list[str]) -> dict[str, int]:
    """Count values by name; a name that does not occur is 0."""
    found = dict(values.value_counts().iter_rows())
    return {name: found.get(name, 0) for name in names}


def _mean(values: pl.Series) -> float | None:
    known = values.drop_nulls()
    return float(known.mean()) if len(known) else None  # type: ignore[arg-type]


def _percent(values: pl.Series) -> float | None:
    return 100 * float(values.mean()) if len(values) else None  # type: ignore[arg-type]


def _correlation(one: pl.Series, other: pl.Series) -> float | None:
    """Pearson's r; None where it is undefined (fewer than two values, or one side constant)."""
    if one.n_unique() < 2 or other.n_unique() < 2:
        return None
    return float(pl.DataFrame({"a": one, "b": other}).select(pl.corr("a", "b")).item())
