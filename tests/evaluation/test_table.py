"""The table that a reader sees: cells, stars, gaps."""

from dataclasses import replace

import pytest

from csrdata.evaluation import table
from csrdata.evaluation.intervals import Figure
from csrdata.evaluation.judging import JudgingFigures
from csrdata.evaluation.summary import BiasSummary, EqualRecall, PairSummary, PolicySummary, Summary
from csrdata.evaluation.truth_preference import TruthPreference

UNKNOWN = Figure(None, None, None, None)
PAIRS = PairSummary(
    kept=3,
    with_pairs=3,
    dropped={"no_response": 1},
    chosen_reward=None,
    rejected_reward=None,
    chosen_reward_held_out=None,
    rejected_reward_held_out=None,
    truth_preference=TruthPreference(comparisons=5, reward=71.0, likelihood=None, relevance=None),
)


def _summary(p_vs_base: float | None) -> Summary:
    base = PolicySummary({"chair_s": Figure(52.04, 49.0, 55.0, None), "recall": UNKNOWN}, false_by_kind={})
    first = PolicySummary({"chair_s": Figure(41.26, 38.0, 44.14, p_vs_base)}, false_by_kind={"other": 2.5})
    return Summary(
        iterations=("base", "1"),
        splits={"held_out": {"base": base, "1": first}},
        pairs={"1": PAIRS},
        training={},
        prepared=None,
    )


def _row(summary: Summary, title: str) -> tuple[str, ...]:
    (found,) = [row for section in table.sections(summary) for row in section.rows if row.title == title]
    return found.cells


@pytest.mark.parametrize(("chance", "star"), [(0.0499, " *"), (0.05, ""), (None, "")])
def test_a_star_marks_a_significant_change(chance: float | None, star: str) -> None:
    """A p-value below 0.05 has a star, 0.05 has none; the base never has one."""
    assert _row(_summary(chance), "CHAIR_S") == ("52.0 [49.0, 55.0]", f"41.3 [38.0, 44.1]{star}")


def test_the_star_is_corrected_over_all_tests_of_the_table() -> None:
    """Holm over two splits, 2 * 0.02 and 1 * 0.03: 0.04 both. With 0.03 twice, 0.06: no star. The summary keeps its p-values."""
    for own, star in ((0.02, " *"), (0.03, "")):
        one = _summary(own)
        two = replace(one, splits={**one.splits, "other": _summary(0.03).splits["held_out"]})
        found = [section for section in table.sections(two) if section.title in {"held out", "other"}]
        assert [section.rows[0].cells[1] for section in found] == [f"41.3 [38.0, 44.1]{star}"] * 2
        assert two.splits["other"]["1"].figures["chair_s"].p_vs_base == 0.03
    assert "after Holm's correction over all tests of the table" in table.markdown(two, confidence=95)


def test_what_is_not_there_is_a_dash_and_what_never_happened_is_zero() -> None:
    """A figure or a pair set that an iteration lacks is a dash; a kind of mistake that it never makes is 0."""
    summary = _summary(0.5)
    assert _row(summary, "recall") == ("-", "-")
    assert _row(summary, "pairs kept") == ("-", "3")
    assert _row(summary, "absent objects: other") == ("0.0", "2.5")
    assert _row(summary, "dropped: no response") == ("-", "1")
    assert _row(summary, "reward prefers the truer") == ("-", "71.0")


def test_prompts_are_counted_where_some_have_several_pairs() -> None:
    """The line of prompts is there if an iteration has more pairs than prompts with a pair, before the dropped ones."""
    one_each = _summary(0.5)
    titles = [row.title for section in table.sections(one_each) for row in section.rows]
    assert "prompts with a pair" not in titles
    several = replace(one_each, pairs={"1": replace(PAIRS, kept=9)})
    titles = [row.title for section in table.sections(several) for row in section.rows]
    place = titles.index("pairs kept")
    assert titles[place : place + 3] == ["pairs kept", "prompts with a pair", "dropped: no response"]
    assert _row(several, "prompts with a pair") == ("-", "3")


def test_verdicts_are_shown_where_the_policy_judged() -> None:
    """Their rows have a dash for the base; without a judge there are none."""
    summary = _summary(0.5)
    assert not any("verdict" in row.title for row in table.sections(summary)[-1].rows)
    judged = replace(PAIRS, judging=JudgingFigures(judged=8, agreed=75.0, compared=4, accuracy=None))
    summary = replace(summary, pairs={"1": judged})
    assert _row(summary, "two answers judged by the policy") == ("-", "8")
    assert _row(summary, "the same verdict in both orders") == ("-", "75.0")
    assert _row(summary, "the verdict names the truer") == ("-", "-")


def test_iterations_are_in_the_order_that_the_summary_states() -> None:
    """Names are names, not numbers; the keys of a JSON object may have any order."""
    summary = _summary(0.5)
    pairs = {"1": PAIRS, "warm-up": replace(PAIRS, kept=7, with_pairs=7)}
    summary = replace(summary, iterations=("base", "warm-up", "1"), pairs=pairs)
    assert table.columns(summary) == ["base", "warm-up", "1"]
    assert _row(summary, "pairs kept") == ("-", "7", "3")
    assert "| base | iteration warm-up | iteration 1 |" in table.markdown(summary, confidence=95)


def test_without_truth_no_row_is_about_it() -> None:
    """Figures that no policy has, kinds of mistake and the reward's accuracy have no row; all others stay."""
    policy = PolicySummary({"length": Figure(28.0, 27.0, 29.0, None)}, false_by_kind=None)
    summary = replace(
        _summary(0.5),
        splits={"held_out": {"base": policy, "1": policy}},
        pairs={"1": replace(PAIRS, truth_preference=None)},
    )
    split, pairs = table.sections(summary)
    assert [row.title for row in split.rows] == ["length"]
    assert [row.title for row in pairs.rows if "truer" in row.title] == []
    assert _row(summary, "pairs kept") == ("-", "3")
    assert _row(summary, "dropped: no response") == ("-", "1")


def test_biases_have_a_section_and_a_missing_one_its_reason() -> None:
    """The split of the bias, the bias with its interval and the draws without one; the note says why a figure is missing."""
    reason = "the base's recall of 92.0% is outside the curve: 60.0% to 90.0% at biases of -4 to 4 nats"
    found = EqualRecall(
        split="held_out",
        policies={
            "base": BiasSummary(0.0, 0.0, 0.0, 0, None, {}),
            "1": BiasSummary(-0.515, -0.8, -0.204, 3, None, {}),
            "2": BiasSummary(None, None, None, 2000, reason, {}),
        },
    )
    summary = replace(_summary(0.5), iterations=("base", "1", "2"), equal_recall=found)
    titles = [section.title for section in table.sections(summary)]
    assert titles[1] == "the bias that gives the base's recall on held out"
    assert _row(summary, "bias on the end of an answer") == ("0.00 [0.00, 0.00]", "-0.52 [-0.80, -0.20]", "-")
    assert _row(summary, "resamples without a bias") == ("0", "3", "2000")
    notes = table.markdown(summary, confidence=95)
    assert "set on held out and kept on the other splits" in notes
    assert f"iteration 2 at the base's recall: {reason}" in notes
    assert "the base's recall" not in table.markdown(_summary(0.5), confidence=95)
