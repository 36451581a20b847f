"""What `csrdata evaluate` prints: the figures, and how they were made."""

from collections.abc import Iterator

from rich.console import RenderableType

from csrdata.evaluation.measured import Evaluation, Value
from csrdata.evaluation.pack.base import Check
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
    "generation",
    "shots",
    "model_sha256",
)
"""Facts of the protocol that the page has, where it states them; `--json` has all."""


CHECKS = {
    Check.REPRODUCED: "the original's results were computed again",
    Check.RULE: "programmed from the original's code, its results not computed again",
    Check.UNCHECKED: "not checked against the original, or not as there",
    Check.OWN: "csrdata's figure, the original has none",
}
"""What a mark in the column `original` means."""


def evaluation_page(found: Evaluation) -> Page:
    """Return the page of one evaluation."""
    return Page(lambda paper: _lines(paper, found))


def _lines(paper: Paper, found: Evaluation) -> Iterator[RenderableType]:
    figures = found.figures.values()
    checks = dict.fromkeys(one.check for one in figures if one.check is not None)
    rows = [(one.title, *_shown(one), one.unit, *([one.check or ""] if checks else [])) for one in figures]
    title = f"{found.name}: {found.protocol.measure}"
    headers = ("", "value", f"{found.confidence:g}% interval", "", *(["original"] if checks else []))
    yield from section(paper, title, rows, headers=headers, sides="lrrll"[: len(headers)])
    facts = found.protocol.as_json()
    yield from section(
        paper, "protocol", [(name, facts[name]) for name in SHOWN if name in facts], sides="ll"
    )
    for check in checks:
        yield paper.text(f"{check}: {CHECKS[Check(check)]}.")
    if found.variant is not None:
        yield paper.text(
            f"A rule-based variant ({found.variant}): these figures are not comparable with published ones."
        )
    if found.empty_answers:
        yield paper.text(
            f"{found.empty_answers:,} answers have no words; they count as answers that name nothing."
        )


def _shown(one: Value) -> tuple[str, str]:
    """Return a figure and its interval; one without a unit, as of another harness, is often of 0 to 1."""
    text = digits if one.unit else _four_decimals
    return text(one.value), f"[{text(one.low)}, {text(one.high)}]"


def _four_decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def digits(value: float | None) -> str:
    """Return a figure with one decimal; a missing one is a dash."""
    return "-" if value is None else f"{value:.1f}"
