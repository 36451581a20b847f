"""Limits on figures: those that do not hold are told, unknown names are errors with the nearest name."""

import pytest

from csrdata.errors import UserError
from csrdata.inspection.gate import check, flat, line, parse_limits

FIGURES = flat(
    {"pairs": {"kept": 12, "mean_margin": None, "by": {"x": 1}}, "cost": None, "list": [1]}, "stats"
)


def test_figures_have_dotted_names() -> None:
    """Nested numbers and nulls have names; lists and texts are no figures."""
    assert FIGURES == {
        "stats.pairs.kept": 12,
        "stats.pairs.mean_margin": None,
        "stats.pairs.by.x": 1,
        "stats.cost": None,
    }


def test_a_limit_holds_at_its_bound_and_fails_where_nothing_was_measured() -> None:
    """Bounds are inclusive; a figure that is null, or part of a whole that is null, does not hold."""
    raw = {
        "stats": {
            "pairs.kept": {"min": 12, "max": 12},
            "pairs.by.x": {"min": 2},
            "pairs.mean_margin": {"min": 0},
            "cost.seconds": {"max": 1},
        }
    }
    checked = check(parse_limits(raw, place="gate.yaml"), FIGURES, place="gate.yaml")
    assert [one.holds for one in checked] == [True, False, False, False]
    assert line(checked[1]) == "fails: stats.pairs.by.x is 1, min 2"
    assert line(checked[2]) == "fails: stats.pairs.mean_margin is not measured, min 0"


def test_an_unknown_figure_names_the_nearest() -> None:
    """A misspelt figure is an error, not a limit that holds."""
    limits = parse_limits({"stats": {"pairs.kpet": {"min": 1}}}, place="gate.yaml")
    with pytest.raises(
        UserError, match=r"stats\.pairs\.kpet: got no such figure, expected stats\.pairs\.kept"
    ):
        check(limits, FIGURES, place="gate.yaml")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"stats": None},
        {"stats": {"a": 1}},
        {"stats": {"a": {}}},
        {"stats": {"a": {"below": 1}}},
        {"stats": {"a": {"min": "x"}}},
        {"stats": {"a": {"min": True}}},
        {"stats": {"a": {"max": float("nan")}}},
        {"stats": {"a": {"max": float("inf")}}},
        {"stats": {"a": {"min": 2, "max": 1}}},
        {1: {}},
    ],
)
def test_a_file_of_another_form_is_one_line(raw: object) -> None:
    """Every other form of the file is refused in one line that names it."""
    with pytest.raises(UserError, match=r"gate\.yaml"):
        parse_limits(raw, place="gate.yaml")
