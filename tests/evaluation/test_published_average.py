"""The paper's average: its formula gives the averages that the paper states, from the rows that it prints."""

import pytest

from csrdata.evaluation.published_average import COLUMNS, average, published_rows

STATED = {
    ("LLaVA-1.5-7B", 0): 66.61,
    ("LLaVA-1.5-7B", 1): 71.02,
    ("LLaVA-1.5-7B", 2): 71.74,
    ("LLaVA-1.5-7B", 3): 72.09,
    ("LLaVA-1.5-7B", 4): 72.24,
    ("LLaVA-1.5-7B", 5): 72.39,
    ("LLaVA-1.5-13B", 0): 68.08,
    ("LLaVA-1.5-13B", 3): 71.95,
    ("VILA-7B", 0): 70.29,
    ("VILA-7B", 3): 72.66,
}
ROWS = published_rows()
LOOP = {(row.model, row.iteration): row for row in ROWS if row.table in {"6 and 7", "8"}}


@pytest.mark.parametrize(("model", "iteration"), STATED)
def test_the_formula_gives_what_the_paper_states(model: str, iteration: int) -> None:
    """To two decimals, from the columns as published."""
    assert round(LOOP[model, iteration].average, 2) == STATED[model, iteration]


def test_the_headline_gains_do_not_follow() -> None:
    """7.62% and 5.25% are neither the gain of the average nor the mean gain of the columns, at any iteration."""
    for model, headline in (("LLaVA-1.5-7B", 7.62), ("LLaVA-1.5-13B", 5.25)):
        base = LOOP[model, 0]
        for iteration in range(1, 6):
            gain = 100 * (LOOP[model, iteration].average / base.average - 1)
            assert abs(gain - headline) > 0.05, (model, iteration, gain)
    assert round(100 * (LOOP["VILA-7B", 3].average / LOOP["VILA-7B", 0].average - 1), 2) == 3.37


def test_a_repeated_row_is_the_same_everywhere() -> None:
    """Lambda 0.9 of Table 9 is iteration 3 of Tables 6 and 7."""
    lambdas = {row.method: row for row in ROWS if row.table == "9"}
    assert lambdas["CSR lambda 0.9"].scores == LOOP["LLaVA-1.5-7B", 3].scores


def test_an_average_over_fewer_columns_is_refused() -> None:
    """It would not be comparable."""
    scores = dict.fromkeys(COLUMNS, 50.0)
    assert average(scores) == pytest.approx((50 * 8 + 50 / 16 + 50 / 4 + 50 + 50) / 12)
    del scores["pope"]
    with pytest.raises(ValueError, match="missing: pope"):
        average(scores)
