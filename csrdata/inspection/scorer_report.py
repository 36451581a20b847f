"""The cards of `scorers` as tables for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rich.console import RenderableType

from csrdata.inspection.page import Page, Paper, number, section


class Card(Protocol):
    """What is shown of `csrdata.evaluation.scorer_cards.ScorerCard`."""

    @property
    def name(self) -> str: ...
    @property
    def sentences(self) -> int: ...
    @property
    def auc(self) -> float | None: ...
    @property
    def comparisons(self) -> int: ...
    @property
    def sibling_preference(self) -> float | None: ...
    @property
    def true_by_tenth(self) -> Sequence[float] | None: ...
    @property
    def correlations(self) -> Mapping[str, float | None]: ...
    @property
    def seconds_per_sentence(self) -> float | None: ...


HEADERS = (
    "value",
    "sentences",
    "AUC, %",
    "comparisons",
    "truer sibling, %",
    "true, lowest to highest tenth, %",
    "s a sentence",
)


def scorer_report(cards: Sequence[Card], *, iteration: str) -> Page:
    """Return a page with a line for each scorer, and their correlations."""
    return Page(lambda paper: _lines(paper, cards, iteration))


def _lines(paper: Paper, cards: Sequence[Card], iteration: str) -> Iterator[RenderableType]:
    rows = [
        (
            card.name,
            number(card.sentences),
            number(card.auc),
            number(card.comparisons),
            number(card.sibling_preference),
            " ".join(f"{share:.0f}" for share in card.true_by_tenth or ()) or "-",
            number(card.seconds_per_sentence),
        )
        for card in cards
    ]
    yield from section(
        paper,
        f"iteration {iteration}: what each value knows of the truth",
        rows,
        headers=HEADERS,
        sides="lrrrrlr",
    )
    names = list(
        dict.fromkeys(
            [*(card.name for card in cards), *(name for card in cards for name in card.correlations)]
        )
    )
    together = [
        (card.name, *("" if name == card.name else number(card.correlations[name]) for name in names))
        for card in cards
    ]
    title = "Spearman's correlation, -1 to 1"
    yield from section(paper, title, together, headers=("", *names), sides="l" + "r" * len(names))
