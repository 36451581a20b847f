"""The table of all arms as Markdown: a section of docs/results.md."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from csrdata.ablation.arms import Arms, Group, Tuning
from csrdata.ablation.base_curve import Point as BasePoint
from csrdata.ablation.base_curve import base_at_recalls, base_curves, mean_points
from csrdata.ablation.by_seed import CONFIDENCE, PRIMARY
from csrdata.ablation.cell import Cell
from csrdata.ablation.details import other_figures, pairs_before_training, report_cards, verdicts
from csrdata.ablation.markdown import MISSING, head, line, mean, named, number
from csrdata.ablation.result import cpu_seconds_a_pair
from csrdata.ablation.scorer_curve import Point, break_even, scorer_curve
from csrdata.ablation.some_seeds import SomeSeeds
from csrdata.ablation.table import Reference, Row, Table
from csrdata.ablation.tuning import Tuned
from csrdata.evaluation.holm import SIGNIFICANT
from csrdata.evaluation.scorecard import FIGURES

CHOSEN_ON = "validation"
COLUMNS = (
    (PRIMARY, "CHAIR_S at the base's recall"),
    ("chair_s", "CHAIR_S"),
    ("recall", "recall"),
    ("present_per_answer", "present objects named"),
    ("length", "words"),
)
"""Of each split: the first is what arms are compared by."""
SAME_RECALL = "CHAIR_S of the base at this recall"
"""What ending earlier or later does to the base, without training."""


def markdown(table: Table, arms: Arms, *, tuned: Mapping[str, Tuned] | None = None) -> str:
    """Return the section of docs/results.md, without its heading.

    Args:
        table: the results.
        arms: of the arms file.
        tuned: what was tried for arms, by name.
    """
    lines = [
        "Arms are sets of parameters over one profile: `csrdata arms` lists what each changes, and",
        "[ablation.md](ablation.md) says how they are run. An arm's figures are those after its last iteration.",
        "",
        *_rule(arms.tuning, tuned or {}),
    ]
    for group in Group:
        rows = table.of(group)
        for split in shown_splits(table) if rows else ():
            title = f"{split.replace('_', ' ')}, {_title(group, rows)}"
            shown: list[Reference | Row] = [*table.references[group], *rows]
            lines += ["", f"### {title}", "", *_figures(shown, base_curves(table, split), split)]
            lines += ["", f"### other figures, {title}", "", *other_figures(shown, split)]
        if rows:
            lines += ["", f"### what it cost and what it made, {_title(group, rows)}", "", *_costs(rows)]
    for title, found in (
        ("the first iteration's pairs, before training", pairs_before_training(table.rows)),
        ("what the policy's verdicts on its own answers are worth", verdicts(table.rows)),
        ("how well each signal knows the truth, in the first iteration's search", report_cards(table.rows)),
    ):
        lines += ["", f"### {title}", "", *found] if found else []
    for split in shown_splits(table):
        lines += _some_seeds(table.some_seeds[split], split)
    for split in shown_splits(table):
        lines += _scorer_curve(scorer_curve(table, arms.weaker_scorers, split), split)
        lines += _base_curve(base_curves(table, split), split)
    return "\n".join([*lines, "", *_notes(table), ""])


def _title(group: Group, rows: Sequence[Row]) -> str:
    """Name a group of arms, and the seeds of its results."""
    found = sorted({seed for row in rows for seed in row.results})
    wanted = sorted({seed for row in rows for seed in row.seeds})
    own = [seed for seed in found if seed in wanted]
    more = named([seed for seed in found if seed not in wanted])
    seeds = named(own or found)
    missing = f" of {', '.join(map(str, wanted))}" if own and own != wanted else ""
    extra = f" (some with {more})" if own and own != found else ""
    return f"{'main' if group is Group.MUST else 'exploratory'} arms, {seeds}{missing}{extra}"


def shown_splits(table: Table) -> list[str]:
    """Return the splits to show: settings were chosen on validation images, so they are not a result."""
    return [split for split in table.splits if split != CHOSEN_ON] or list(table.splits)


def _rule(tuning: Tuning, tuned: Mapping[str, Tuned]) -> list[str]:
    """Say how settings are chosen, and show what was tried and chosen for each arm."""
    tried = "; ".join(f"`{key}` of {', '.join(map(_plain, values))}" for key, values in tuning.grid.items())
    lines = [
        f"**Tuning.** One rule for every arm: {len(tuning.trials())} runs of one iteration with seed 0 ({tried}).",
        "Chosen is the lowest CHAIR_S on validation images among the runs whose recall is at most",
        f"{tuning.recall_loss:g} points below the base's; without such a run, the highest recall.",
        "An arm without a row has the rate that it names, or that of the arm that it extends,",
        "or else of the profile. `shipped` is the profile, whatever the rule chooses. It was chosen by hand, with more",
        "trials ([experiments.md](experiments.md)): comparisons with it favour it.",
    ]
    if not tuned:
        return lines
    settings = list(dict.fromkeys(_setting(one.changes) for each in tuned.values() for one in each.trials))
    lines += ["", *head(["CHAIR_S / recall on validation images", *settings, "chosen"])]
    for name, each in tuned.items():
        found = {
            _setting(one.changes): f"{one.figures.chair_s:.1f} / {one.figures.recall:.1f}"
            for one in each.trials
        }
        cells = [found.get(setting, MISSING) for setting in settings]
        lines.append(line([f"`{name}`", *cells, _setting(each.chosen)]))
    return lines


def _setting(changes: Mapping[str, Any]) -> str:
    """Return the values of a setting, without the sections of their keys."""
    return ", ".join(f"{key.rpartition('.')[2]} {_plain(value)}" for key, value in changes.items())


def _figures(
    rows: Sequence[Reference | Row], curves: Mapping[int, Sequence[BasePoint]], split: str
) -> list[str]:
    lines = head(["arm", "seeds", "iterations", *(title for _, title in COLUMNS), SAME_RECALL, "by seed"])
    for row in rows:
        found = [(name, row.cells.get(f"{split}/{name}")) for name, _ in COLUMNS]
        by_seed = next((cell.figure.seeds for _, cell in found if cell is not None), ())
        cells = [_cell(cell, name) for name, cell in found]
        cells += [number(base_at_recalls(row, curves, split)), " / ".join(map(number, by_seed)) or MISSING]
        lines.append(line([row.title, ", ".join(map(str, row.found)), str(row.iterations), *cells]))
    return lines


def _costs(rows: Sequence[Row]) -> list[str]:
    heads = [
        "arm",
        "pairs of an iteration",
        "reward prefers the truer, %",
        "the scored signal prefers the truer, %",
        "CPU-seconds a pair",
    ]
    lines = head(heads)
    for row in rows:
        entries = [entry for result in row.results.values() for entry in result.pairs.values()]
        first = [result.pairs[result.iterations[1]] for result in row.results.values() if result.pairs]
        costs = [cpu_seconds_a_pair(result) for result in row.results.values()]
        lines.append(
            line(
                [
                    row.arm.name,
                    number(mean(entry.get("kept") for entry in entries), 0),
                    number(mean(entry.get("reward_prefers_truer") for entry in first)),
                    number(mean(entry.get("relevance_prefers_truer") for entry in first)),
                    number(mean(costs), 2),
                ]
            )
        )
    return lines


def _scorer_curve(points: Sequence[Point], split: str) -> list[str]:
    """Show what one iteration gains with each scorer; nothing where fewer than two were measured."""
    if len(points) < 2:
        return []
    silent = [point.arm for point in points if point.gain is None]
    limit = break_even(points)
    if limit is not None:
        verdict = f"Under {limit:.1f}% an iteration does harm (linear between the points)."
    elif any(point.gain is not None and point.gain < 0 for point in points):
        verdict = "The accuracy does not say where harm begins."
    else:
        verdict = "" if silent else "No scorer did harm."
    if silent:
        verdict += f" An iteration does harm with {', '.join(silent)}: no bias gives the base's recall back."
    return [
        "",
        f"### {split.replace('_', ' ')}, the gain of one iteration against the accuracy of the scorer",
        "",
        *head(
            [
                "arm",
                "R_I prefers the truer, %",
                "reward prefers the truer, %",
                COLUMNS[0][1],
                "gain, points",
                *(title for _, title in COLUMNS[1:]),
            ]
        ),
        *(
            line(
                [
                    point.arm,
                    number(point.accuracy),
                    number(point.reward_accuracy),
                    _cell(point.cells.get(PRIMARY), PRIMARY),
                    number(point.gain),
                    *(_cell(point.cells.get(name), name) for name, _ in COLUMNS[1:]),
                ]
            )
            for point in points
        ),
        "",
        verdict.strip(),
    ]


def _some_seeds(found: Sequence[SomeSeeds], split: str) -> list[str]:
    """Show the arms that have the first figure with some of their seeds alone; nothing without one."""
    if not found:
        return []
    title = f"{split.replace('_', ' ')}, {COLUMNS[0][1]} where some seeds have none: the others"
    lines = ["", f"### {title}", ""]
    lines += head(["arm", "seeds", COLUMNS[0][1], "shipped, these seeds", "base, these seeds"])
    for one in found:
        others = (number(one.shipped), number(one.base))
        lines.append(line([one.name, ", ".join(map(str, one.seeds)), _cell(one.cell, PRIMARY), *others]))
    return lines


def _base_curve(curves: Mapping[int, Sequence[BasePoint]], split: str) -> list[str]:
    """Show what a bias on end-of-sequence alone does to the base; nothing where it was not measured."""
    if not curves:
        return []
    lines = ["", f"### {split.replace('_', ' ')}, the base with a bias on end-of-sequence", ""]
    lines += head(["bias, nats", *(FIGURES[name].title for name in ON_THE_CURVE)])
    for bias, found in mean_points(curves, ON_THE_CURVE).items():
        lines.append(
            line([f"{bias:g}", *(number(found[name], FIGURES[name].digits) for name in ON_THE_CURVE)])
        )
    return lines


ON_THE_CURVE = ("chair_s", "recall", "present_per_answer", "length")


def _notes(table: Table) -> list[str]:
    results = [result for row in table.rows for result in row.results.values()]
    notes = [
        f"value [{CONFIDENCE:g}% bootstrap interval over images, and over seeds where there are several]; "
        "b: differs from the base; s: differs from `shipped` after as many iterations (paired test over images, two-sided "
        f"p < {SIGNIFICANT:g} after Holm's correction over all tests of the table; it is about these models, not about "
        "other seeds); by seed: the first figure of each seed",
        "the base at this recall: with a bias on end-of-sequence alone, linear between the points of its curve",
        "other figures: means without tests, over the seeds with which no arm of the table lacks the figure (older results "
        "do); the heading names the seeds where these are not all",
        "prefers the truer: how often the reward, and the mean over an answer's sentences of the scored signal (R_I of the "
        "search's scorer, unless the arm names another), is higher for the truer of two answers of the first iteration's "
        "search that differ in truth",
        "pairs before training, verdicts, signals: means over the seeds in the second column, with which no arm lacks them. "
        "Likelihood under the policy that training "
        "starts from, by origin of the pairs (the paper's Figure 8); false, if one of a side's claims is, about an absent "
        "object or a present one (a side without a claim is not counted); rewards on the scale of `score_beams`, over all "
        "pairs of the iteration (Table 10), comparable between arms with the same scale",
        "how well a signal knows the truth: AUC, how often a true sentence has a higher value than a false one; truer "
        "sibling, how often the truer of two sentences that continue the same beginning has; seconds of one worker. "
        "`search` is the R_I that guided, `likelihood` the mean ln p of a token",
        "CPU-seconds a pair: search, signals, scores and selection, on all cores",
    ]
    machines = _distinct(
        f"{one.machine.get('processor')} ({one.machine.get('instructions')}), {one.machine.get('threads')} threads, torch "
        f"{one.machine.get('torch')}"
        for one in results
    )
    names = _distinct(f"{one.origin.profile}{' (quick)' if one.origin.quick else ''}" for one in results)
    revisions = _distinct(one.origin.revision or "unknown" for one in results)
    notes.append(
        f"profile {'; '.join(names)}; trained on {'; '.join(machines)}; csrdata {', '.join(revisions)}"
    )
    if len(revisions) > 1:
        notes.append(
            "results of several revisions: `python -m csrdata.ablation run` makes those again whose code differs"
        )
    reasons = [
        f"{row.arm.name}/{seed} {metrics['reason']}"
        for row in table.rows
        for seed, result in row.results.items()
        for metrics in [result.match_recall.get(result.last, {})]
        if metrics.get("reason")
    ]
    if reasons:
        notes.append(f"no CHAIR_S at the base's recall: {'; '.join(reasons)}")
    missing = [f"{row.arm.name}/{seed}" for row in table.rows for seed in row.missing]
    notes.append(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    notes += [f"left out: {one}" for one in table.left_out]
    return [line for note in notes for line in (note, "")][:-1]


def _cell(cell: Cell | None, name: str) -> str:
    """Show a figure. Example: `14.4 [12.2, 16.5] b s`."""
    if cell is None or cell.figure.value is None:
        return MISSING
    digits = FIGURES[name].digits
    marks = [
        mark
        for mark, chance in (("b", cell.p_vs_base), ("s", cell.p_vs_shipped))
        if chance is not None and chance < SIGNIFICANT
    ]
    value, low, high = (number(one, digits) for one in (cell.figure.value, cell.figure.low, cell.figure.high))
    return " ".join([f"{value} [{low}, {high}]", *marks])


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
