"""Holm's correction, by hand."""

import pytest

from csrdata.evaluation.holm import holm


@pytest.mark.parametrize(
    ("chances", "expected"),
    [
        # 4 * 0.005; 3 * 0.01; 2 * 0.03; 1 * 0.04 is less than 0.06 before it
        ({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}),
        ({"a": 0.4, "b": 0.6}, {"a": 0.8, "b": 0.8}),
        ({"a": 0.7, "b": 0.7}, {"a": 1.0, "b": 1.0}),
        ({"a": 0.03}, {"a": 0.03}),
        # A member without a p-value counts: 3 * 0.02, 2 * 0.02.
        ({"a": 0.02, "b": None, "c": 0.02}, {"a": 0.06, "b": None, "c": 0.06}),
        ({}, {}),
    ],
)
def test_the_adjusted_values_are_those_of_the_definition(
    chances: dict[str, float | None], expected: dict[str, float | None]
) -> None:
    """The k-th smallest of m is multiplied by m - k + 1, is at least the one before it, and at most 1."""
    found = holm(chances)
    assert list(found) == list(chances)
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value))
