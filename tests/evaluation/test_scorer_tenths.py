"""How true the sentences of each tenth of a scorer's values are."""

import polars as pl

from csrdata.evaluation.scorer_cards import _tenths


def test_the_share_of_true_sentences_by_tenth() -> None:
    """Twenty values in any order: the lowest two are false, one of the next two is, all others are true."""
    values = [float(number) for number in range(20)]
    false = [True, True, True] + [False] * 17
    judged = pl.DataFrame({"value": values, "false": false}).sample(fraction=1.0, shuffle=True, seed=3)
    assert _tenths(judged) == [0.0, 50.0] + [100.0] * 8


def test_fewer_than_ten_sentences_have_no_tenths() -> None:
    """Nine known sentences: None."""
    assert _tenths(pl.DataFrame({"value": [1.0] * 9, "false": [False] * 9})) is None
