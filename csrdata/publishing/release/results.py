"""Results about a release: how true its pairs are, and the effect of training on them.

Both are computed from data that a release does not contain (the truth about the images, the answers of trained policies).
The figures are therefore stored in the release as `provenance/results.json`, with the hash of each table of pairs that they
describe, so a pulled project gives the same card. What was not measured is in neither the file nor the card.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrdata.errors import UserError
from csrdata.evaluation.holm import SIGNIFICANT
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.scorecard import FIGURES
from csrdata.evaluation.summary import BASE, PolicySummary
from csrdata.publishing.card.markdown import Markdown, escape, table
from csrdata.publishing.release.layout import RESULTS
from csrdata.publishing.release.manifest import ELSEWHERE
from csrdata.publishing.release.untrusted import parse_json, read_bounded

RESULTS_BYTES = 1_000_000
"""The largest file of results that is read."""

HEADLINE_FIGURES = ("chair_s", "chair_i", "recall", "length")
"""The figures in the card's sentences: hallucination, and the possible costs of reducing it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of one policy on one split."""

    value: float
    low: float
    high: float
    """The bounds of its bootstrap interval over images."""
    p_vs_base: float | None
    """The p-value of the paired test against the base on the same images, corrected over all tests of the summary; null for
    the base."""


@dataclass(frozen=True, slots=True)
class TruthShare:
    """Numbers of pairs by which answer is truer: the one with the smaller share of false statements."""

    chosen: int
    rejected: int
    equal: int
    unknown: int
    """Pairs with an answer that makes no statement."""


@dataclass(frozen=True, slots=True)
class Results:
    """Figures for a card."""

    pairs: Mapping[str, str]
    """SHA-256 of the table of pairs that the figures describe, by iteration."""
    truth: Mapping[str, TruthShare] = dataclasses.field(default_factory=dict)
    """By iteration; empty if the truth is unknown."""
    confidence: float | None = None
    """Confidence level of the intervals, percent."""
    splits: Mapping[str, Mapping[str, Mapping[str, Measured]]] = dataclasses.field(default_factory=dict)
    """By split, policy and key of `FIGURES`; `BASE` is the base policy, "1" is the policy trained in iteration 1."""
    world: int | None = None
    """The version of the microworld that drew the images; None for other images, and for version 1."""


def measured(
    splits: Mapping[str, Mapping[str, PolicySummary]], policies: Sequence[str]
) -> dict[str, dict[str, dict[str, Measured]]]:
    """Return the figures of some policies from a summary's splits; figures without a value are left out."""
    return {
        split: {
            policy: {
                name: one
                for name in FIGURES
                if name in entries[policy].figures
                and (one := _measured(entries[policy].figures[name])) is not None
            }
            for policy in policies
            if policy in entries
        }
        for split, entries in splits.items()
    }


def parse_results(raw: Any, *, place: str) -> Results:
    """Turn the JSON of a release's results into `Results`.

    Raises:
        UserError: a key or a number is not one that `csrdata push` writes.
    """
    try:
        found = Results(
            pairs={str(name): str(digest) for name, digest in raw["pairs"].items()},
            truth={str(name): TruthShare(**_counts(share)) for name, share in raw["truth"].items()},
            confidence=None if raw["confidence"] is None else _number(raw["confidence"]),
            splits={
                str(split): {
                    str(policy): {
                        _known(figure): Measured(**_numbers(values)) for figure, values in figures.items()
                    }
                    for policy, figures in policies.items()
                }
                for split, policies in raw["splits"].items()
            },
            world=None if raw.get("world") is None else _counts({"world": raw["world"]})["world"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        expected = "results as csrdata push writes them"
        raise UserError(place, got=str(error), expected=expected, do="csrdata pull OWNER/NAME@TAG") from None
    return found


def read_results(file: Path) -> Results:
    """Read a release's `provenance/results.json`, which may be hostile.

    Raises:
        UserError: it is too large or malformed.
    """
    content = read_bounded(file, limit=RESULTS_BYTES, do=ELSEWHERE)
    return parse_results(parse_json(content, place=RESULTS, do=ELSEWHERE), place=RESULTS)


def change(base: Measured, after: Measured) -> str:
    """Return in words how a figure changed, by the paired test if there is one, otherwise by the intervals.

    Example: 42.1 -> 28.0 at p = 0.001: `fell`; 90.1 -> 90.2 at p = 0.6: `did not change clearly`
    """
    apart = after.low > base.high or after.high < base.low
    clear = apart if after.p_vs_base is None else after.p_vs_base < SIGNIFICANT
    if not clear or after.value == base.value:
        return "did not change clearly"
    return "rose" if after.value > base.value else "fell"


def sentences(results: Results, policy: str) -> list[Markdown]:
    """Return one sentence per split about the change of hallucination, recall and length from the base to a policy."""
    found = []
    for split, policies in results.splits.items():
        base, after = policies.get(BASE, {}), policies.get(policy, {})
        parts = [
            f"{FIGURES[figure].title} {change(base[figure], after[figure])} "
            f"({_shown(figure, base[figure].value)} to {_shown(figure, after[figure].value)} {FIGURES[figure].unit})"
            for figure in HEADLINE_FIGURES
            if figure in base and figure in after
        ]
        if parts:
            name = escape(split.replace("_", " "))
            found.append(Markdown(f"Split {name}: {', '.join(parts)}."))
    return found


def tables(
    results: Results, order: Sequence[str], figures: Sequence[str] = tuple(FIGURES)
) -> list[tuple[str, Markdown]]:
    """Return a title and a table per split: a row per figure, a column per policy, a star for a difference from the base.

    Args:
        results: the figures.
        order: of the policies; others that were measured come after these, by name.
        figures: the rows.
    """
    found = []
    for split, policies in results.splits.items():
        # The order of names in a JSON object says nothing.
        names = [name for name in order if name in policies]
        names += sorted(policies.keys() - set(names))
        rows = [
            (
                FIGURES[figure].title,
                FIGURES[figure].unit,
                *(_cell(figure, policies[policy].get(figure)) for policy in names),
            )
            for figure in figures
            if any(figure in one for one in policies.values())
        ]
        heads = ["figure", "unit", *("base" if name == BASE else f"policy {name}" for name in names)]
        found.append((split.replace("_", " "), table(heads, rows)))
    return found


def caption(results: Results) -> Markdown:
    """Return how the figures were measured."""
    world = (
        ""
        if results.world is None
        else f" The images are of microworld version {results.world}; figures of another version are not comparable."
    )
    return Markdown(
        f"A cell is a value and its {results.confidence:g}% bootstrap interval over images; one training run per policy. "
        f"A star marks a difference from the base on the same images (paired permutation test, two-sided, "
        f"p < {SIGNIFICANT:g} after Holm's correction over all tests of the summary). "
        f"Rose and fell mean such a difference.{world}"
    )


def _cell(figure: str, one: Measured | None) -> Markdown:
    """Example: `28.0 [25.1, 30.9] *`."""
    if one is None:
        return Markdown("-")
    star = r" \*" if one.p_vs_base is not None and one.p_vs_base < SIGNIFICANT else ""
    return Markdown(
        f"{_shown(figure, one.value)} [{_shown(figure, one.low)}, {_shown(figure, one.high)}]{star}"
    )


def _shown(figure: str, value: float) -> str:
    return f"{value:.{FIGURES[figure].digits}f}"


def _measured(figure: Figure) -> Measured | None:
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return Measured(figure.value, figure.low, figure.high, figure.p_vs_base)


def _known(figure: str) -> str:
    if figure not in FIGURES:
        raise ValueError(f"unknown figure {figure}")
    return figure


def _counts(raw: Any) -> dict[str, int]:
    if not all(isinstance(value, int) and value >= 0 for value in raw.values()):
        raise ValueError(f"counts {raw}")
    return dict(raw)


def _numbers(raw: Any) -> dict[str, Any]:
    return {
        key: None if key == "p_vs_base" and value is None else _number(value) for key, value in raw.items()
    }


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} where a number is expected")
    return value
