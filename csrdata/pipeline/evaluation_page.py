"""What `csrdata evaluate` prints: the figures, and how they were made."""

from collections.abc import Iterator

from rich.console import RenderableType

from csrdata.evaluation.measured import Evaluation
from csrdata.inspection.page import Page, Paper, section

SHOWN = (
    "prompt",
    "max_new_tokens",
    "decoding",
    "last_sentence",
    "rules",
    "images",
    "questions",
    "images_sha256",
)
"""Facts of the protocol that the page has; `--json` has all."""


def evaluation_page(found: Evaluation) -> Page:
    """Return the page of one evaluation."""
    return Page(lambda paper: _lines(paper, found))


def _lines(paper: Paper, found: Evaluation) -> Iterator[RenderableType]:
    rows = [
        (one.title, digits(one.value), f"[{digits(one.low)}, {digits(one.high)}]", one.unit)
        for one in found.figures.values()
    ]
    title = f"{found.name}: {found.protocol.measure}"
    headers = ("", "value", f"{found.confidence:g}% interval", "")
    yield from section(paper, title, rows, headers=headers, sides="lrrl")
    facts = found.protocol.as_json()
    yield from section(paper, "protocol", [(name, facts[name]) for name in SHOWN], sides="ll")
    if found.variant is not None:
        yield paper.text("A rule-based variant: these figures are not comparable with published ones.")
    if found.empty_answers:
        yield paper.text(
            f"{found.empty_answers:,} answers have no words; they count as answers that name nothing."
        )


def digits(value: float | None) -> str:
    """Return a figure with one decimal; a missing one is a dash."""
    return "-" if value is None else f"{value:.1f}"
