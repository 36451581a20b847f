"""The table that a reader sees: cells, stars, gaps."""

from typing import Any

import pytest

from csrdata.evaluation import table


def _summary(p_vs_base: float | None) -> dict[str, Any]:
    base = {"value": 52.04, "low": 49.0, "high": 55.0, "p_vs_base": None}
    first = {"value": 41.26, "low": 38.0, "high": 44.14, "p_vs_base": p_vs_base}
    splits = {
        "base": {"chair_s": base, "false_by_kind": {}},
        "1": {"chair_s": first, "false_by_kind": {"other": 2.5}},
    }
    pair = {
        "kept": 3,
        "dropped": {"no_response": 1},
        "chosen_reward": None,
        "truth_preference": {"reward": 71.0},
    }
    return {"iterations": ["base", "1"], "splits": {"held_out": splits}, "pairs": {"1": pair}}


def _row(summary: dict[str, Any], title: str) -> tuple[str, ...]:
    (found,) = [row for section in table.sections(summary) for row in section.rows if row.title == title]
    return found.cells


@pytest.mark.parametrize(("chance", "star"), [(0.0499, " *"), (0.05, ""), (None, "")])
def test_a_star_marks_a_significant_change(chance: float | None, star: str) -> None:
    """A p-value below 0.05 has a star, 0.05 has none; the base never has one."""
    assert _row(_summary(chance), "CHAIR_S") == ("52.0 [49.0, 55.0]", f"41.3 [38.0, 44.1]{star}")


def test_what_is_not_there_is_a_dash_and_what_never_happened_is_zero() -> None:
    """A figure or a pair set that an iteration lacks is a dash; a kind of mistake that it never makes is 0."""
    summary = _summary(0.5)
    assert _row(summary, "recall") == ("-", "-")
    assert _row(summary, "pairs kept") == ("-", "3")
    assert _row(summary, "absent objects: other") == ("0.0", "2.5")
    assert _row(summary, "dropped: no response") == ("-", "1")
    assert _row(summary, "reward prefers the truer") == ("-", "71.0")


def test_iterations_are_in_the_order_that_the_summary_states() -> None:
    """Names are names, not numbers; the keys of a JSON object may have any order."""
    summary = _summary(0.5)
    entry = summary["pairs"]["1"]
    summary |= {"iterations": ["base", "warm-up", "1"], "pairs": {"1": entry, "warm-up": entry | {"kept": 7}}}
    assert table.columns(summary) == ["base", "warm-up", "1"]
    assert _row(summary, "pairs kept") == ("-", "7", "3")
    assert "| base | iteration warm-up | iteration 1 |" in table.markdown(summary, confidence=95)
