"""The page's tables that no test compares: what explains an arm's figures.

Other figures of each arm, its pairs before training, what a policy's verdicts on its answers are worth, and how well each
signal knows the truth.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from csrdata.ablation.arms import SHIPPED
from csrdata.ablation.markdown import MISSING, head, line, mean, named, number
from csrdata.ablation.table import Reference, Row
from csrdata.ablation.uncounted import UNCOUNTED, complete_seeds
from csrdata.evaluation.scorecard import AT_RECALL, FIGURES

OTHERS = tuple(name for name in UNCOUNTED if name not in AT_RECALL.values())
"""Figures of answers that the first table of a group does not have."""


def other_figures(rows: Sequence[Reference | Row], split: str) -> list[str]:
    """Return a table of `OTHERS`, without those that no arm has; a heading names the seeds where they are not all."""
    names = [name for name in OTHERS if any(f"{split}/{name}" in row.cells for row in rows)]
    lines = head(["arm", "seeds", "iterations", *(_heading(rows, split, name) for name in names)])
    for row in rows:
        found = [row.cells.get(f"{split}/{name}") for name in names]
        cells = [
            MISSING if cell is None else number(cell.figure.value, FIGURES[name].digits)
            for name, cell in zip(names, found, strict=True)
        ]
        lines.append(line([row.title, _seeds(row.found), str(row.iterations), *cells]))
    return lines


def _heading(rows: Sequence[Reference | Row], split: str, name: str) -> str:
    """Return the title of a figure; with its seeds, where an arm has others too."""
    used: set[int] = set()
    lacking: set[int] = set()
    for row in rows:
        cell = row.cells.get(f"{split}/{name}")
        for seed, value in zip(row.found, () if cell is None else cell.figure.seeds, strict=cell is not None):
            (lacking if value is None else used).add(seed)
    title = FIGURES[name].title
    return f"{title}, {named(sorted(used))}" if lacking else title


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Return a table of the arms whose policy judged its own answers, by iteration; empty without one."""
    lines = []
    for row in rows:
        for name in dict.fromkeys(name for result in row.results.values() for name in result.pairs):
            found = {
                seed: result.pairs[name]["judging"]
                for seed, result in row.results.items()
                if "judging" in result.pairs.get(name, {})
            }
            if found:
                shares = [number(mean(one[key] for one in found.values())) for key in ("agreed", "accuracy")]
                counts = [
                    number(mean(one[key] for one in found.values()), 0) for key in ("judged", "compared")
                ]
                lines.append(line([row.title, _seeds(found), name, counts[0], *shares, counts[1]]))
    titles = [
        "arm",
        "seeds",
        "iteration",
        "prompts judged",
        "same verdict in both orders, %",
        "names the truer, %",
        "of",
    ]
    return [*head(titles), *lines] if lines else []


def report_cards(rows: Sequence[Row]) -> list[str]:
    """Return a table of the signals of `shipped`, and of every arm that changes the scorers; or nothing."""
    shown = [row for row in rows if _has_own_signals(row)]
    seeds = complete_seeds(
        {seed: bool(result.cards) for seed, result in row.results.items()} for row in shown
    )
    lines = [text for row in shown for text in _cards(row, seeds)]
    titles = [
        "arm",
        "seeds",
        "signal",
        "AUC, %",
        "truer sibling, %",
        "correlation with likelihood",
        "milliseconds a sentence",
    ]
    return [*head(titles), *lines] if lines else []


PAIR_COLUMNS = (
    "arm",
    "seeds",
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
    first = {
        row.title: {
            seed: result.pairs[result.iterations[1]] for seed, result in row.results.items() if result.pairs
        }
        for row in rows
    }
    seeds = complete_seeds(
        {seed: "likelihood" in one for seed, one in by_seed.items()} for by_seed in first.values()
    )
    lines = []
    for arm, by_seed in first.items():
        own = {seed: one for seed, one in by_seed.items() if seed in seeds and "likelihood" in one}
        rewards = [number(mean(one.get(f"{side}_reward") for one in own.values()), 2) for side in SIDES]
        for origin in dict.fromkeys(origin for one in own.values() for origin in one["likelihood"]):
            found = [one["likelihood"][origin] for one in own.values() if origin in one["likelihood"]]
            false = [one["false"][origin] for one in own.values() if origin in one.get("false", {})]
            cells = [
                number(mean(one["pairs"] for one in found), 0),
                *(number(mean(one[side] for one in found), 3) for side in SIDES),
                number(mean(one["chosen_preferred"] for one in found)),
                *(number(mean(one[side] for one in false)) for side in SIDES),
            ]
            lines.append(line([arm, _seeds(own), f"`{origin}`", *cells, *rewards]))
    return [*head(PAIR_COLUMNS), *lines] if lines else []


SIDES = ("chosen", "rejected")


def _has_own_signals(row: Row) -> bool:
    return row.title == SHIPPED or any(key.startswith("scorers") for key in row.arm.changes)


def _cards(row: Row, seeds: Collection[int]) -> Iterator[str]:
    """Yield a line for each signal of an arm: means over seeds."""
    own = {seed: result for seed, result in row.results.items() if seed in seeds}
    for name in dict.fromkeys(name for result in own.values() for name in result.cards):
        found = {seed: result.cards[name] for seed, result in own.items() if name in result.cards}
        seconds = mean(one["seconds_per_sentence"] for one in found.values())
        yield line(
            [
                row.title,
                _seeds(found),
                f"`{name}`",
                *(number(mean(one[key] for one in found.values())) for key in ("auc", "sibling_preference")),
                number(mean(one["likelihood_correlation"] for one in found.values()), 2),
                number(None if seconds is None else 1000 * seconds, 3),
            ]
        )


def _seeds(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
