"""The page's tables that no test compares: what explains an arm's figures.

Other figures of each arm, its pairs before training, what a policy's verdicts on its answers are worth, and how well each
signal knows the truth.
"""

from collections.abc import Iterator, Sequence

from csrdata.ablation.arms import SHIPPED
from csrdata.ablation.markdown import MISSING, head, line, mean, number
from csrdata.ablation.table import UNCOUNTED, Reference, Row
from csrdata.evaluation.scorecard import AT_RECALL, FIGURES

OTHERS = tuple(name for name in UNCOUNTED if name not in AT_RECALL.values())
"""Figures of answers that the first table of a group does not have."""


def other_figures(rows: Sequence[Reference | Row], split: str) -> list[str]:
    """Return a table of `OTHERS`, without those that no arm has."""
    names = [name for name in OTHERS if any(f"{split}/{name}" in row.cells for row in rows)]
    lines = head(["arm", "seeds", "iterations", *(FIGURES[name].title for name in names)])
    for row in rows:
        found = [row.cells.get(f"{split}/{name}") for name in names]
        cells = [
            MISSING if cell is None else number(cell.figure.value, FIGURES[name].digits)
            for name, cell in zip(names, found, strict=True)
        ]
        lines.append(line([row.title, ", ".join(map(str, row.found)), str(row.iterations), *cells]))
    return lines


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Return a table of the arms whose policy judged its own answers, by iteration; empty without one."""
    lines = []
    for row in rows:
        for name in dict.fromkeys(name for result in row.results.values() for name in result.pairs):
            found = [
                result.pairs[name]["judging"]
                for result in row.results.values()
                if "judging" in result.pairs.get(name, {})
            ]
            if found:
                shares = [number(mean(one[key] for one in found)) for key in ("agreed", "accuracy")]
                counts = [number(mean(one[key] for one in found), 0) for key in ("judged", "compared")]
                lines.append(line([row.title, name, counts[0], *shares, counts[1]]))
    titles = [
        "arm",
        "iteration",
        "prompts judged",
        "same verdict in both orders, %",
        "names the truer, %",
        "of",
    ]
    return [*head(titles), *lines] if lines else []


def report_cards(rows: Sequence[Row]) -> list[str]:
    """Return a table of the signals of `shipped`, and of every arm that changes the scorers; or nothing."""
    lines = [text for row in rows if _has_own_signals(row) for text in _cards(row)]
    titles = [
        "arm",
        "signal",
        "AUC, %",
        "truer sibling, %",
        "correlation with likelihood",
        "seconds a sentence",
    ]
    return [*head(titles), *lines] if lines else []


PAIR_COLUMNS = (
    "arm",
    "origin",
    "pairs",
    "chosen, nats a token",
    "rejected, nats a token",
    "chosen is likelier, %",
    "chosen is false, %",
    "rejected is false, %",
    "reward of chosen",
    "reward of rejected",
)


def pairs_before_training(rows: Sequence[Row]) -> list[str]:
    """Return a table of the first iteration's pairs: by origin, likelihood (Figure 8) and truth; rewards (Table 10)."""
    lines = []
    for row in rows:
        own = [result.pairs[result.iterations[1]] for result in row.results.values() if result.pairs]
        rewards = [number(mean(one.get(f"{side}_reward") for one in own), 2) for side in SIDES]
        for origin in dict.fromkeys(origin for one in own for origin in one.get("likelihood", {})):
            found = [one["likelihood"][origin] for one in own if origin in one.get("likelihood", {})]
            false = [one["false"][origin] for one in own if origin in one.get("false", {})]
            cells = [
                number(mean(one["pairs"] for one in found), 0),
                *(number(mean(one[side] for one in found), 3) for side in SIDES),
                number(mean(one["chosen_preferred"] for one in found)),
                *(number(mean(one[side] for one in false)) for side in SIDES),
            ]
            lines.append(line([row.title, f"`{origin}`", *cells, *rewards]))
    return [*head(PAIR_COLUMNS), *lines] if lines else []


SIDES = ("chosen", "rejected")


def _has_own_signals(row: Row) -> bool:
    return row.title == SHIPPED or any(key.startswith("scorers") for key in row.arm.changes)


def _cards(row: Row) -> Iterator[str]:
    """Yield a line for each signal of an arm: means over seeds."""
    for name in dict.fromkeys(name for result in row.results.values() for name in result.cards):
        found = [result.cards[name] for result in row.results.values() if name in result.cards]
        yield line(
            [
                row.title,
                f"`{name}`",
                *(number(mean(one[key] for one in found)) for key in ("auc", "sibling_preference")),
                number(mean(one["likelihood_correlation"] for one in found), 2),
                number(mean(one["seconds_per_sentence"] for one in found), 4),
            ]
        )
