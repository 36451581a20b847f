"""The summary as one table for a reader: figures down, the base and each iteration across.

Terminal and Markdown show the same cells, `value [low, high]`, with a star where the change from the base is
significant: p < 0.05, two-sided, corrected over all tests of the table (`csrdata.evaluation.corrected`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from csrdata.evaluation.corrected import corrected
from csrdata.evaluation.holm import SIGNIFICANT
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.scorecard import FIGURES
from csrdata.evaluation.summary import (
    BASE,
    PAIR_MEANS,
    EqualRecall,
    PairSummary,
    PolicySummary,
    Summary,
)
from csrdata.evaluation.truth_preference import TruthPreference
from csrdata.text import printable

MISSING = "-"
UNBOUNDED = 10_000
"""Columns of a terminal that no table fills."""

_PAIR_ROWS = (
    ("kept", "pairs kept", ""),
    ("with_pairs", "prompts with a pair", "prompts"),
    ("chosen_reward", "reward of chosen", "search scorer"),
    ("rejected_reward", "reward of rejected", "search scorer"),
    ("chosen_reward_held_out", "reward of chosen", "held-out scorer"),
    ("rejected_reward_held_out", "reward of rejected", "held-out scorer"),
)
_PREFERENCE_ROWS = (
    ("reward", "reward prefers the truer", "%"),
    ("likelihood", "likelihood prefers the truer", "%"),
    ("relevance", "relevance prefers the truer", "%"),
    ("comparisons", "answers compared", "pairs that differ in truth"),
)

_JUDGING_ROWS = (
    ("judged", "two answers judged by the policy", "prompts"),
    ("agreed", "the same verdict in both orders", "%"),
    ("accuracy", "the verdict names the truer", "%"),
    ("compared", "verdicts compared", "that differ in truth"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    title: str
    unit: str
    cells: tuple[str, ...]
    """One a column; `MISSING` where there is nothing."""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under a separate heading."""

    title: str
    rows: tuple[Row, ...]


def columns(summary: Summary) -> list[str]:
    """Return the names of the base and the iterations, in the order that the summary states."""
    return list(summary.iterations)


def sections(summary: Summary) -> list[Section]:
    """Lay the summary out: a section for each split, one for the biases, one for the pairs that were trained on."""
    names, summary = columns(summary), corrected(summary)
    splits = [_split_section(split, entries, names) for split, entries in summary.splits.items()]
    biases = [] if summary.equal_recall is None else [_bias_section(summary.equal_recall, names)]
    pairs = [_pair_section(summary.pairs, names)] if summary.pairs else []
    return [*splits, *biases, *pairs]


def render_table(summary: Summary) -> Table:
    """Return the table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("unit", no_wrap=True, style="dim")
    for name in columns(summary):
        table.add_column(_text(_heading(name)), no_wrap=True)
    for section in sections(summary):
        table.add_row(_text(section.title, style="bold"))
        for row in section.rows:
            table.add_row(*map(_text, (row.title, row.unit, *row.cells)))
        table.add_section()
    return table


def _text(words: str, style: str = "") -> Text:
    return Text(printable(words), style=style)


def show(summary: Summary, *, confidence: float) -> None:
    """Print the table to stdout, as wide as it needs to be: a figure cut in two is no figure."""
    table = render_table(summary)
    console = Console(width=Console(width=UNBOUNDED).measure(table).maximum)
    console.print(table)
    console.print(_notes(summary, confidence), markup=False, highlight=False)


def markdown(summary: Summary, *, confidence: float) -> str:
    """Return the same table as Markdown."""
    names = columns(summary)
    lines: list[str] = []
    for section in sections(summary):
        lines += [
            f"## {section.title}",
            "",
            _line(["figure", "unit", *map(_heading, names)]),
            _line(["---"] * (len(names) + 2)),
            *(_line([row.title, row.unit, *row.cells]) for row in section.rows),
            "",
        ]
    return "\n".join([*lines, _notes(summary, confidence), ""])


def _split_section(split: str, policies: Mapping[str, PolicySummary], names: Sequence[str]) -> Section:
    """Lay out one split: a row for each figure that was measured, one for each kind of mistake."""
    columns = [policies.get(name) for name in names]
    rows = [
        Row(
            label.title,
            label.unit,
            tuple(
                _cell(None if policy is None else policy.figures.get(name), digits=label.digits)
                for policy in columns
            ),
        )
        for name, label in FIGURES.items()
        if any(name in policy.figures for policy in policies.values())
    ]
    counts = [None if policy is None else policy.false_by_kind for policy in columns]
    rows += [
        Row(f"absent objects: {kind.replace('_', '-')}", "per 100 answers", _counts(counts, kind, none=0.0))
        for kind in sorted({kind for kinds in counts for kind in kinds or ()})
    ]
    return Section(split.replace("_", " "), tuple(rows))


def _bias_section(found: EqualRecall, names: Sequence[str]) -> Section:
    columns = [found.policies.get(name) for name in names]
    biases = [None if one is None else Figure(one.bias, one.low, one.high, p_vs_base=None) for one in columns]
    return Section(
        f"the bias that gives the base's recall on {found.split.replace('_', ' ')}",
        (
            Row("bias on the end of an answer", "nats", tuple(_cell(one, digits=2) for one in biases)),
            Row(
                "resamples without a bias",
                "",
                tuple(MISSING if one is None else str(one.outside) for one in columns),
            ),
        ),
    )


def _pair_section(pairs: Mapping[str, PairSummary], names: Sequence[str]) -> Section:
    columns = [pairs.get(name) for name in names]
    rows = [
        Row(title, unit, tuple(_number(_field(entry, key), digits=3) for entry in columns))
        for key, title, unit in _PAIR_ROWS
        if ("held_out" not in key or _has_held_out(pairs))
        and (key != "with_pairs" or any(one.with_pairs != one.kept for one in pairs.values()))
    ]
    dropped = [None if entry is None else entry.dropped for entry in columns]
    place = next(index for index, row in enumerate(rows) if row.title == "reward of chosen")
    rows[place:place] = [
        Row(f"dropped: {reason.replace('_', ' ')}", "prompts", _counts(dropped, reason, none=0))
        for reason in sorted({reason for counts in dropped for reason in counts or ()})
    ]
    preferences = [None if entry is None else entry.truth_preference for entry in columns]
    if any(one is not None for one in preferences):
        rows += [
            Row(title, unit, tuple(_number(_field(one, key)) for one in preferences))
            for key, title, unit in _PREFERENCE_ROWS
        ]
    verdicts = [None if entry is None else entry.judging for entry in columns]
    if any(one is not None for one in verdicts):
        rows += [
            Row(title, unit, tuple(_number(_field(one, key)) for one in verdicts))
            for key, title, unit in _JUDGING_ROWS
        ]
    return Section("pairs that the iteration was trained on", tuple(rows))


def _has_held_out(pairs: Mapping[str, PairSummary]) -> bool:
    """Return whether a pair has a reward by the held-out scorer; also if no pair has a reward at all."""
    rewards = {name: [getattr(entry, name) for entry in pairs.values()] for name in PAIR_MEANS}
    held_out = any(
        value is not None for name, values in rewards.items() if "held_out" in name for value in values
    )
    return held_out or all(value is None for values in rewards.values() for value in values)


def not_measured(summary: Summary) -> list[str]:
    """Return what no figure is about, each with the reason; empty where everything was measured."""
    figures = {
        split: {name for policy in policies.values() for name in policy.figures}
        for split, policies in summary.splits.items()
    }
    without_truth = [
        split for split, names in figures.items() if "length" in names and "chair_s" not in names
    ]
    found = []
    if not figures:
        found.append("policies (there are no evaluation questions)")
    if without_truth:
        found.append(f"CHAIR of {', '.join(without_truth)} (the objects in the images are unknown)")
    if figures and not any("pope_accuracy" in names for names in figures.values()):
        found.append("POPE (there are no yes/no questions)")
    described = any("relevance" in names for names in figures.values())
    without = described and not any("relevance_held_out" in names for names in figures.values())
    if without:
        found.append("R_I by a held-out scorer (scorers.held_out is null)")
    if not _has_held_out(summary.pairs):
        reason = "scorers.held_out is null" if without else "these pairs have none"
        found.append(f"rewards of pairs by a held-out scorer ({reason})")
    if summary.pairs and all(entry.truth_preference is None for entry in summary.pairs.values()):
        found.append("how often rewards prefer the truer answer (the truth about the prompts is unknown)")
    return found


def _field(record: PairSummary | TruthPreference | JudgingFigures | None, name: str) -> float | None:
    value: float | None = None if record is None else getattr(record, name)
    return value


def _counts(columns: Sequence[Mapping[str, float] | None], key: str, *, none: float) -> tuple[str, ...]:
    """Show one count of each column: `none` where the column lacks it, a dash where there is no column."""
    return tuple(MISSING if counts is None else _number(counts.get(key, none)) for counts in columns)


def _cell(figure: Figure | None, *, digits: int) -> str:
    """Show one figure.

    Example: `Figure(value=41.2, low=38.0, high=44.1, p_vs_base=0.01)` -> `41.2 [38.0, 44.1] *`
    """
    if figure is None or figure.value is None:
        return MISSING
    star = " *" if figure.p_vs_base is not None and figure.p_vs_base < SIGNIFICANT else ""
    value, low, high = (_number(one, digits=digits) for one in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]{star}"


def _number(value: float | None, *, digits: int = 1) -> str:
    if value is None:
        return MISSING
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def _heading(name: str) -> str:
    return name if name == BASE else f"iteration {name}"


def _notes(summary: Summary, confidence: float) -> str:
    """Say where the loop stopped, how to read a cell, what was not measured, and which machine trained the models."""
    notes = [*(one.words() for one in summary.stopped), _caption(confidence)]
    if summary.equal_recall is not None:
        notes += _recall_notes(summary.equal_recall)
    if missing := not_measured(summary):
        notes.append(f"not measured: {'; '.join(missing)}")
    if summary.world is not None:
        notes.append(
            f"microworld version {summary.world}; figures of another version are on other scenes and not comparable"
        )
    if summary.prepared is not None:
        machine = summary.prepared.machine
        notes.append(
            f"base policy and scorers trained on {machine.processor} ({machine.instructions}), "
            f"{machine.threads} threads, torch {machine.torch}; another processor gives other models and other figures"
        )
    return "\n\n".join(notes)


def _caption(confidence: float) -> str:
    return (
        f"value [{confidence:g}% bootstrap interval over images]; * differs from the base on the same images "
        f"(paired permutation test, two-sided p < {SIGNIFICANT:g} after Holm's correction over all tests of the table)"
    )


def _recall_notes(found: EqualRecall) -> list[str]:
    """Say what figures at the base's recall are, and why some do not exist."""
    notes = [
        f"at the base's recall: a bias on the end of an answer, set on {found.split.replace('_', ' ')} and kept on the "
        "other splits; the interval covers the choice of the bias, the test takes it as given"
    ]
    return notes + [
        f"{_heading(name)} at the base's recall: {one.reason}"
        for name, one in found.policies.items()
        if one.reason is not None
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
